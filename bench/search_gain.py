"""What a search gains over what one would do by hand, at the same latency and in the same time.

    python bench/search_gain.py --data camvid:DIR --out DIR [--minutes 30] [--seeds 0 1] [--height 180 --width 240]

A Fast-SCNN is trained until it levels off. Then each method has the same minutes to make an INT8 engine of half its
latency: uniform pruning and latency-aware pruning, both distilled from the unpruned network; a narrower network,
trained from scratch with the same teacher; a smaller input, fine-tuned likewise; and `jetseg search`. The minutes of
the search hold its trials, engines and timings; those of the others are of training alone. Engines are timed in turns
with that of the unpruned network. `val` chooses epochs and trials; `test` has no part in anything. What DIR holds is
kept under a hash of the settings that it depends on, so that an interrupted run goes on, inside a training too, and
other settings never meet its figures. Nothing else may run meanwhile: the minutes are those of the clock.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

import jetseg
from jetseg.engine.result import EngineRejectedError
from jetseg.manifest import Stage
from jetseg.models import create_model
from jetseg.provenance import device_name, toolchain
from jetseg.searching.config import SearchConfig
from jetseg.searching.measuring import GivenNetwork
from jetseg.storage import write_json
from jetseg.training.checkpoint import save_checkpoint
from jetseg.workflows.resizing import resize

_AIM = 0.95
_LEVEL = 0.3
"""Points of val mIoU that the longer of two trainings must gain, or the network has leveled off."""
_BISECTIONS = 5
_TRAINING = {"class_weights": "enet", "batch_size": 8}


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    base = _base(options)
    config = SearchConfig(budget_ratio=options.ratio, threads=options.threads)
    with GivenNetwork(jetseg.open_network(base), options.data, config, options.out / "given") as given:
        rows = {name: [_piece(name, seed, given, options) for seed in options.seeds] for name in options.methods}
    print(f"Fast-SCNN {options.width}x{options.height}, {options.data}, {device_name()}, {toolchain()}")
    print(f"{options.minutes:g} minutes each, {options.threads} threads; ratio of latency, mIoU % on val and test")
    for name, runs in rows.items():
        figures = {key: statistics.mean(run[key] for run in runs) for key in ("ratio", "val", "test")}
        each = ", ".join(f"{run['val']:.2f}/{run['test']:.2f} {run['how']}" for run in runs)
        print(f"{name:>8}: {figures['ratio']:.3f}  {figures['val']:.2f}  {figures['test']:.2f}  ({each})")


def _piece(name: str, seed: int, given: GivenNetwork, options: argparse.Namespace) -> dict[str, Any]:
    """Returns what one method came to with one seed, from earlier if it had the same settings then."""
    depends = [options.data, options.minutes, options.ratio, options.threads, given.checkpoint.sha256]
    key = hashlib.sha256(json.dumps([name, seed, jetseg.__version__, *depends]).encode()).hexdigest()[:8]
    folder = options.out / f"{name}-{seed}-{key}"
    return _recorded(folder / "row.json", lambda: _run(name, seed, given, options, folder))


def _base(options: argparse.Namespace) -> Path:
    """Trains the network, each time twice as long, until that gains next to nothing."""
    epochs, before = options.base_epochs, -math.inf
    while True:
        result = jetseg.train(
            data=options.data,
            out=options.out / f"base-{options.width}x{options.height}-{epochs}",
            model="fast-scnn",
            height=options.height,
            width=options.width,
            epochs=epochs,
            lr=2e-3,
            weight_decay=0.01,
            validate_every=max(1, epochs // 50),
            **_TRAINING,
        )
        print(f"base, {epochs} epochs: {result.miou:.2f} % on val")
        if result.miou < before + _LEVEL or epochs >= options.most_base_epochs:
            return result.best
        before, epochs = result.miou, 2 * epochs


def _run(name: str, seed: int, given: GivenNetwork, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Makes and scores the engine of one method."""
    make = _search if name == "search" else partial(_by_hand, name)
    engine, how = make(seed, given, options, folder)
    scores = {split: jetseg.evaluate(engine, data=options.data, split=split).miou for split in ("val", "test")}
    return {**scores, "ratio": given.ratio_of_engine(engine), "engine": str(engine), "how": how}


def _search(seed: int, given: GivenNetwork, options: argparse.Namespace, folder: Path) -> tuple[Path, str]:
    training = {"class_weights": _TRAINING["class_weights"]}
    settings = {"budget_ratio": options.ratio, "minutes": options.minutes, "seed": seed, "threads": options.threads}
    result = jetseg.search(given.checkpoint, data=options.data, out=folder, training=training, **settings)
    if result.best is None:
        raise SystemExit("The search found no engine within the budget; give it more --minutes.")
    count = result.trials.complete + result.trials.pruned
    return Path(result.best.engine), f"trial {result.best.trial} of {count}, rung {result.best.rung}"


def _by_hand(name: str, seed: int, given: GivenNetwork, options: argparse.Namespace, folder: Path) -> tuple[Path, str]:
    start = _STARTS[name](given, options, folder)
    settings = {
        "data": options.data,
        "init": start,
        "teacher": given.checkpoint.path,
        "lr": 2e-3 if name == "narrow" else 1e-3,
        "seed": seed,
        **_TRAINING,
    }
    epochs = _recorded(folder / "epochs.json", lambda: _epochs(settings, options.minutes, folder))
    trained = jetseg.train(out=folder / "run", epochs=epochs, validate_every=max(1, epochs // 10), **settings)
    network = jetseg.export(trained.best, out=folder / "network.onnx").network
    try:
        built = jetseg.build_engine(network, data=options.data, out=folder / "engine.onnx", threads=options.threads)
    except EngineRejectedError as error:  # its figures count all the same
        built = error.result
    return built.path, f"{epochs} epochs"


def _epochs(settings: dict[str, Any], minutes: float, folder: Path) -> int:
    """Returns how many epochs take so long, by two epochs without what comes before and after them."""
    seconds = []
    for epochs in (1, 3):
        began = time.perf_counter()
        jetseg.train(out=folder / "timing", epochs=epochs, validate_every=epochs, resume=False, **settings)
        seconds.append(time.perf_counter() - began)
    return max(1, int(60 * minutes / ((seconds[1] - seconds[0]) / 2)))


def _uniform(given: GivenNetwork, options: argparse.Namespace, folder: Path) -> Path:
    return _pruned("layer", given, options, folder)


def _latency(given: GivenNetwork, options: argparse.Namespace, folder: Path) -> Path:
    return _pruned("latency", given, options, folder)


def _pruned(scope: str, given: GivenNetwork, options: argparse.Namespace, folder: Path) -> Path:
    out = folder / "pruned.safetensors"
    if not out.exists():
        speed = {"speedup": 1 / (_AIM * options.ratio), "precision": "int8", "threads": options.threads}
        jetseg.prune(given.checkpoint, out=out, data=options.data, scope=scope, criterion="taylor", **speed)
    return out


def _narrow(given: GivenNetwork, options: argparse.Namespace, folder: Path) -> Path:
    """Makes a fresh network of the largest width that is fast enough."""

    def make(width: float, out: Path) -> None:
        torch.manual_seed(0)
        manifest = given.checkpoint.manifest
        spec = manifest.model.model_copy(update={"options": {"width": width}})
        module = create_model(spec.factory, manifest.output.channels, in_channels=3, width=width).eval()
        save_checkpoint(out, module, manifest.derive(Stage(name="fresh"), model=spec))

    return _largest(make, given, options, folder)


def _smaller(given: GivenNetwork, options: argparse.Namespace, folder: Path) -> Path:
    """Makes the same network for the largest input that is fast enough."""

    def make(scale: float, out: Path) -> None:
        height, width = (max(1, round(scale * length / 4)) * 4 for length in (options.height, options.width))
        resize(given.checkpoint, out=out, height=height, width=width)

    return _largest(make, given, options, folder)


def _largest(
    make: Callable[[float, Path], None], given: GivenNetwork, options: argparse.Namespace, folder: Path
) -> Path:
    """Bisects for the largest amount whose network is fast enough."""
    kept = folder / "start.safetensors"
    if kept.exists():
        return kept
    low, high = 0.2, 1.0
    for _ in range(_BISECTIONS):
        amount = (low + high) / 2
        make(amount, folder / "tried.safetensors")
        tried = jetseg.export(folder / "tried.safetensors", out=folder / "tried.onnx").network
        fits = given.ratio_of_network(tried.path) <= options.ratio
        low, high = (amount, high) if fits else (low, amount)
    make(low, kept)
    return kept


_STARTS = {"uniform": _uniform, "latency": _latency, "narrow": _narrow, "smaller": _smaller}


def _recorded(path: Path, make: Callable[[], Any]) -> Any:
    """Returns what a file holds, or makes it."""
    if not path.exists():
        write_json(path, make())
    return json.loads(path.read_text())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--ratio", type=float, default=0.5)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--height", type=int, default=180)
    parser.add_argument("--width", type=int, default=240)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--base-epochs", type=int, default=100)
    parser.add_argument("--most-base-epochs", type=int, default=800)
    parser.add_argument("--methods", nargs="+", choices=[*_STARTS, "search"], default=[*_STARTS, "search"])
    return parser.parse_args()


if __name__ == "__main__":
    main()
