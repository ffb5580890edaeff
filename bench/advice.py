"""Advice against what comes of it: the recommended chain and the next two are run, and speed and ranking compared.

    python bench/advice.py WORK --data camvid:DIR [--espnet FILE --espnet-manifest FILE] [--only NAME ...]

Fast-SCNN, DDRNet-23-slim and SegFormer-B0 are trained first, unless a checkpoint is given by --checkpoint NAME=FILE;
ESPNet is a file. SegFormer is the zoo's: tests/ must be importable (PYTHONPATH=tests), and transformers installed.
Everything lies in WORK and is kept: run the same command again after an interruption, and what is finished is not done
again.

Speeds are the fastest of alternated runs against the float network on one thread, by that thread's processor time; mIoU
is of the whole validation split. A ranking is right if the chains, ranked by what was measured, have the order that was
advised.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jetseg.advice.advising import Advice, advise
from jetseg.advice.chains import Chain, rank
from jetseg.advice.config import AdviseConfig
from jetseg.advice.plan import Plan
from jetseg.engine.backend import find_backend
from jetseg.engine.engine import open_engine
from jetseg.engine.layer_timer import quiet_latencies_ms
from jetseg.errors import GateError
from jetseg.evaluation.benchmark import inference_on_noise
from jetseg.recipes.recipe import load_recipe
from jetseg.recipes.run import run_recipe
from jetseg.storage import write_json
from jetseg.trust import trust
from jetseg.workflows.evaluating import evaluate
from jetseg.workflows.exporting import export
from jetseg.workflows.opening import as_network
from jetseg.workflows.training import train

FACTORIES = {
    "fast-scnn": "fast-scnn",
    "ddrnet-23-slim": "ddrnet-23-slim",
    "segformer-b0": "zoo.networks:segformer_b0",
}
WITHIN = 0.10
MOST_SECONDS = 600


@dataclass(frozen=True)
class Outcome:
    """One chain, as it was advised and as it is."""

    name: str
    predicted_speedup: float
    speedup: float | None
    expected_drop: float
    drop: float | None
    confidence: str
    refused: str = ""

    @property
    def speed_error(self) -> float | None:
        """By how much the predicted gain is off, as a fraction of the measured."""
        return None if self.speedup is None else self.predicted_speedup / self.speedup - 1


def main() -> None:
    given = arguments()
    trust(FACTORIES.values())
    checkpoints = dict(entry.split("=", 1) for entry in given.checkpoint)
    names = given.only or [*FACTORIES, *(["espnet"] if given.espnet else [])]
    results = {name: judge(name, network_of(name, given, checkpoints), given) for name in names}
    print_table(results)
    write_json(given.work / "results.json", results)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--only", nargs="*", help="networks, by name")
    parser.add_argument("--checkpoint", nargs="*", default=[], metavar="NAME=FILE", help="trained networks")
    parser.add_argument("--espnet", type=Path)
    parser.add_argument("--espnet-manifest", type=Path)
    parser.add_argument("--height", type=int, default=180)
    parser.add_argument("--width", type=int, default=240)
    parser.add_argument("--train-epochs", type=int, default=60, help="of the networks that are trained here")
    parser.add_argument("--epochs", type=int, default=20, help="of the repair in the recipes")
    parser.add_argument("--frames", type=int, default=32, help="that advice measures on")
    parser.add_argument("--max-drop", type=float, default=1.0)
    parser.add_argument("--minutes", type=float, default=10.0, help="that advice may take")
    return parser.parse_args()


def network_of(name: str, given: argparse.Namespace, checkpoints: Mapping[str, str]) -> Path:
    """Returns a trained network, after training it if there is none."""
    if name == "espnet":
        return given.espnet
    if name in checkpoints:
        return Path(checkpoints[name])
    return train(
        data=given.data,
        model=FACTORIES[name],
        out=given.work / name / "train",
        height=given.height,
        width=given.width,
        epochs=given.train_epochs,
        lr=0.002 if name != "segformer-b0" else 0.001,
        weight_decay=0.01,
        class_weights="enet",
        ema_decay=0.99,
        validate_every=5,
    ).best


def judge(name: str, path: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Advises, runs the three chains, and compares."""
    folder, manifest = given.work / name, given.espnet_manifest if name == "espnet" else None
    folder.mkdir(parents=True, exist_ok=True)
    advice = advised(path, manifest, folder, given)
    source = path if name == "espnet" else folder / "float.onnx"
    if not source.is_file():
        export(path, out=source)
    outcomes = [run_chain(chain, folder, source, manifest, given) for chain in advice["ranked"]]
    right = ranking_is_right(outcomes, advice, given)
    return {
        "seconds": advice["seconds"],
        "in_time": advice["seconds"] <= MOST_SECONDS,
        "ranking_right": right,
        "speeds_within": all(one.speed_error is not None and abs(one.speed_error) <= WITHIN for one in outcomes),
        "chains": [asdict(one) | {"speed_error": one.speed_error} for one in outcomes],
    }


def advised(path: Path, manifest: Path | None, folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Advises once; what was said is kept."""
    kept = folder / "advice.json"
    if not kept.is_file():
        advice = advise(
            path,
            data=given.data,
            manifest=manifest,
            out=folder / "advice.yaml",
            page=folder / "advice.html",
            epochs=given.epochs,
            frames=given.frames,
            max_drop=given.max_drop,
            minutes=given.minutes,
        )
        write_json(kept, record(advice))
    return json.loads(kept.read_text(encoding="utf-8"))


def record(advice: Advice) -> dict[str, Any]:
    """Returns what is needed of an advice later."""
    chains = zip(advice.ranked, advice.recipes, strict=True)
    return {
        "seconds": advice.seconds,
        "float_ms": advice.float_ms,
        "miou": advice.miou,
        "ranked": [
            {
                "name": str(chain.plan),
                "speedup": chain.speedup,
                "expected_drop": chain.expected_drop,
                "hours": chain.hours,
                "confidence": chain.confidence,
                "recipe": str(recipe),
            }
            for chain, recipe in chains
        ],
    }


def run_chain(
    chain: Mapping[str, Any], folder: Path, source: Path, manifest: Path | None, given: argparse.Namespace
) -> Outcome:
    """Runs a recipe and measures its engine; one that the gate refuses is an outcome as well."""
    recipe = Path(chain["recipe"])
    expected = (chain["name"], chain["speedup"])
    loss = (chain["expected_drop"], chain["confidence"])
    try:
        results = run_recipe(load_recipe(str(recipe)), given.data, folder / recipe.stem)
    except GateError as error:
        return Outcome(*expected, None, loss[0], None, loss[1], str(error))
    engine = results[-1].artifacts["engine"]
    kept = engine.with_suffix(".measured.json")
    if not kept.is_file():
        write_json(kept, measure(engine, source, manifest, given.data))
    found = json.loads(kept.read_text(encoding="utf-8"))
    return Outcome(*expected, found["speedup"], loss[0], found["drop"], loss[1])


def measure(engine: Path, source: Path, manifest: Path | None, data: str) -> dict[str, float]:
    """Returns how many times as fast as the float network an engine is, and the points of mIoU that it loses."""
    with open_engine(as_network(source, manifest), threads=1) as before, open_engine(engine, threads=1) as after:
        calls = {"before": inference_on_noise(before), "after": inference_on_noise(after)}
        spent = quiet_latencies_ms(calls, rounds=12, seconds=0.2, clock=find_backend("onnxruntime").clock(1))
        old, new = (evaluate(one, data=data, split="val").miou for one in (before, after))
    return {"speedup": spent["before"] / spent["after"], "drop": (old or 0.0) - (new or 0.0)}


def ranking_is_right(outcomes: Sequence[Outcome], advice: Mapping[str, Any], given: argparse.Namespace) -> bool:
    """Tells whether the chains keep their order when they are ranked by what was measured; a refused one is last."""
    chains = {}
    for number, (one, said) in enumerate(zip(outcomes, advice["ranked"], strict=True)):
        drop = 100.0 if one.drop is None else one.drop
        plan = Plan(instead=str(number))  # tells them apart
        chains[number] = Chain(plan, one.speedup or 1.0, drop, said["hours"])
    ranked = rank(chains.values(), AdviseConfig(max_drop=given.max_drop), advice["float_ms"])
    return [chain.plan.instead for chain in ranked] == [str(number) for number in chains]


def print_table(results: Mapping[str, Mapping[str, Any]]) -> None:
    for name, result in results.items():
        ranking = "right" if result["ranking_right"] else "WRONG"
        within = "within" if result["speeds_within"] else "NOT within"
        seconds = result["seconds"]
        print(f"{name}: advice in {seconds:.0f} s; ranking {ranking}; speeds {within} {100 * WITHIN:.0f} %")
        for chain in result["chains"]:
            if chain["speedup"] is None:
                print(f"  {chain['name']}: refused: {chain['refused']}")
                continue
            print(
                f"  {chain['name']}: speed {chain['predicted_speedup']:.2f} said, {chain['speedup']:.2f} measured "
                f"({100 * chain['speed_error']:+.1f} %); loss {chain['expected_drop']:+.2f} said, {chain['drop']:+.2f} "
                f"measured ({chain['confidence']})"
            )


if __name__ == "__main__":
    main()
