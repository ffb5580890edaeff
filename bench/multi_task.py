r"""One network for three tasks against three networks, pruned together and quantized, on the synthetic drive.

    python bench/multi_task.py --out DIR
    python bench/multi_task.py --out DIR --frames 24 --epochs 1 --tune 1 --seeds 0    # to see that it works

Segmentation, drivable area and depth at 240x180. Each of the three networks has as many parameters as the one. Trained
on `train`, every choice made on `val`, all figures from `test`. Latencies are of ONNX Runtime in float32 on one thread,
all networks in turn, by processor time. Pruned to the same share of the multiply-accumulates, tasks' importances
normalized or added as they are, over two seeds. Every step is kept in DIR/results.json, and one that is there is not
done again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import jetseg
from jetseg.engine.layer_timer import quiet_latencies_ms
from jetseg.evaluation.tasks import measure_tasks
from jetseg.network import open_network
from jetseg.onnx.signature import input_shape
from jetseg.provenance import device_name, toolchain
from jetseg.workflows.opening import open_engine

TASKS = ("segmentation", "drivable", "depth")
SIZE = {"height": 180, "width": 240, "crop_height": 180, "crop_width": 240}
MAIN = {"segmentation": "miou", "drivable": "iou", "depth": "rmse"}


def main() -> None:
    options = _options()
    board = _Board(options.out)
    print(device_name(), toolchain())
    single = {}
    for task in TASKS:
        single[task] = board.step(f"single {task}", partial(_train, options, (task,), "tiny", f"single-{task}"))
    for weighting in options.weightings:
        made = partial(_train, options, TASKS, "multi-task", f"joint-{weighting}", task_weighting=weighting)
        board.step(f"joint {weighting}", made)
    best = max(options.weightings, key=lambda name: board.done[f"joint {name}"]["val_score"])
    joint = board.done[f"joint {best}"]
    print(f"Losses weighed by {best}: best on val.")
    board.step("latency", partial(_latencies, options, [*single.values(), joint]))
    for seed in options.seeds:
        for how in ("normalized", "raw"):
            board.step(f"pruned {how}, seed {seed}", partial(_prune, options, joint["checkpoint"], how, seed))
    pruned = board.done[f"pruned normalized, seed {options.seeds[0]}"]
    board.step("int8 joint", partial(_quantize, options, joint["checkpoint"], "joint"))
    board.step("int8 pruned", partial(_quantize, options, pruned["checkpoint"], "pruned"))
    board.step("latency pruned", partial(_latencies, options, [joint, pruned]))
    _show(board)


class _Board:
    """What was done already."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / "results.json"
        self.done = self._read()

    def _read(self) -> dict[str, Any]:
        return json.loads(self._file.read_text()) if self._file.is_file() else {}

    def step(self, name: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        if name not in self.done:
            began = time.perf_counter()
            found = {**work(), "seconds": round(time.perf_counter() - began)}
            self.done = {**self._read(), name: found}
            self._file.write_text(json.dumps(self.done, indent=1))
        print(f"{name}: {json.dumps(self.done[name])}", flush=True)
        return self.done[name]


def _train(options: argparse.Namespace, tasks: tuple[str, ...], model: str, name: str, **more: Any) -> dict[str, Any]:
    alone = tasks == ("segmentation",)
    result = jetseg.train(
        data=f"synthetic:{options.frames}",
        out=options.out / name,
        model=model,
        model_options={"width": options.width},
        epochs=options.epochs,
        lr=0.004,
        augment={"scale": (0.8, 1.3)},
        validate_every=max(1, options.epochs // 5),
        **({} if alone else {"tasks": tasks}),
        **SIZE,
        **more,
    )
    return {"checkpoint": str(result.best), "val_score": result.miou, "test": _score(options, result.best, tasks)}


def _score(options: argparse.Namespace, network: Path | str, tasks: tuple[str, ...]) -> dict[str, Any]:
    split = jetseg.open_dataset(f"synthetic:{options.test}").split("test")
    with open_engine(network, threads=1) as engine:
        outputs = [
            output.model_copy(update={"name": task})
            for output, task in zip(engine.manifest.outputs, tasks, strict=True)
        ]
        named = engine.manifest.model_copy(update={"outputs": tuple(outputs)})

        def predict(frame: Any) -> dict[str, Any]:
            return dict(zip(tasks, engine.maps(frame).values(), strict=True))

        found = measure_tasks(predict, named, split)
    return {task: found[task][MAIN[task]] for task in tasks}


def _prune(options: argparse.Namespace, checkpoint: str, how: str, seed: int) -> dict[str, Any]:
    prune = partial(
        jetseg.prune,
        checkpoint,
        out=options.out / f"pruned-{how}-{seed}.safetensors",
        data=f"synthetic:{options.frames}",
        criterion="taylor",
        scope="global",
        task_importance=how,
        seed=seed,
        batches=8,
    )
    for ratio in np.arange(options.ratio, 0.9, 0.05):
        if _macs(prune(ratio=ratio)) >= options.speedup:
            break
    result = prune(
        ratio=ratio,
        epochs=options.tune,
        lr=0.004,
        training={"augment": {"scale": (0.8, 1.3)}, "validate_every": max(1, options.tune // 3)},
    )
    cut = {"ratio": round(float(ratio), 2), "macs": _macs(result)}
    return {"checkpoint": str(result.checkpoint), **cut, "test": _score(options, result.checkpoint, TASKS)}


def _macs(result: Any) -> float:
    return (result.before.macs or 0) / (result.after.macs or 1)


def _quantize(options: argparse.Namespace, checkpoint: str, name: str) -> dict[str, Any]:
    exported = jetseg.export(checkpoint, out=options.out / f"{name}.onnx")
    built = jetseg.build_engine(
        exported.path,
        data=f"synthetic:{options.frames}",
        out=options.out / f"{name}.int8.onnx",
        images=48,
        task_drops={"segmentation_miou": "0.3", "drivable_iou": "0.3", "depth_rmse": "1%"},
        eval_frames=60,
        auto=True,
        force=True,
        estimate=False,
        threads=1,
    )
    scores = {"float": _score(options, exported.path, TASKS), "int8": _score(options, built.path, TASKS)}
    return {**scores, "same": dict(built.agreement.kept) if built.agreement else {}}


def _latencies(options: argparse.Namespace, rows: list[dict[str, Any]]) -> dict[str, Any]:
    calls, engines = {}, []
    for row in rows:
        path = Path(row["checkpoint"])
        name = path.parent.name if path.stem == "best" else path.stem
        onnx = options.out / f"latency-{name}.onnx"
        if not onnx.is_file():
            jetseg.export(path, out=onnx)
        engine = jetseg.open_engine(open_network(onnx), threads=1)
        engines.append(engine)
        image = np.zeros(input_shape(engine.manifest.input), np.float32)
        calls[name] = partial(engine.infer_all, image)
    found = quiet_latencies_ms(calls, clock=time.thread_time)
    for engine in engines:
        engine.close()
    return {name: round(ms, 3) for name, ms in found.items()}


def _show(board: _Board) -> None:
    print("\n| network | " + " | ".join(f"{task} {metric}" for task, metric in MAIN.items()) + " |\n|---|---|---|---|")
    for name, row in board.done.items():
        for label in ("test", "float", "int8"):
            if label in row:
                cells = [f"{row[label][task]:.2f}" if task in row[label] else "-" for task in TASKS]
                print(f"| {name}{'' if label == 'test' else f' {label}'} | {' | '.join(cells)} |")
    print(f"\nLatency, ms: {board.done['latency']}, {board.done['latency pruned']}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=600, help="to train on")
    parser.add_argument("--test", type=int, default=120, help="to score on")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--tune", type=int, default=8, help="epochs after pruning")
    parser.add_argument("--ratio", type=float, default=0.3, help="of the channels, with which the search begins")
    parser.add_argument("--speedup", type=float, default=2.0, help="multiply-accumulates before by those after pruning")
    parser.add_argument("--weightings", nargs="+", default=["equal", "uncertainty", "gradnorm"], help="of the losses")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    return parser.parse_args()


if __name__ == "__main__":
    main()
