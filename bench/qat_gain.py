r"""What quantization-aware training gains over quantization after training, on frames that it never saw.

    python bench/qat_gain.py NETWORK [--manifest FILE] --data SPEC --out DIR [--placement full] [--set lr=0.001 ...]

The network is calibrated once, with default settings, on the split that is learned from. Each seed trains from there;
the float network teaches, without labels. The best epoch is chosen on `val`; `test` has no part in it. The table is of
TensorRT's arithmetic, simulated exactly: the percent of pixels that keep the float network's class, and mIoU where the
labels are of the network's classes. What DIR holds is not made again, so that an interrupted run goes on.

Networks that are hard to quantize are made by

    export PYTHONPATH=bench
    jetseg train --model rough_network:rough --data camvid:DIR --height 144 --width 192 --epochs 9 \
        --validate-every 9 --lr 0.002 --out rough
    jetseg export rough/best.safetensors --trust rough_network:rough --out rough.onnx

and `rough16`, a smaller one, with

    --model-option width=16 --model-option blocks=3 --height 96 --width 128 --epochs 12 --validate-every 12 --lr 0.003
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch

import jetseg
from jetseg.data.dataset import open_split
from jetseg.engine.simulation import simulate_tensorrt
from jetseg.errors import DataError
from jetseg.evaluation.accuracy import measure_accuracy
from jetseg.evaluation.agreement import AgreementMeter
from jetseg.provenance import device_name, toolchain

_SPLITS = ("val", "test")


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    network = jetseg.open_network(options.network, options.manifest)
    ranges = _ranges(network, options)
    before = _recorded(options.out / "ptq.json", lambda: _scores(ranges, network, options))
    after = [
        _recorded(options.out / f"seed{seed}.json", lambda seed=seed: _trained(network, ranges, seed, options))
        for seed in options.seeds
    ]
    print(f"{options.network.name}, {options.data}, {device_name()}, {toolchain()}")
    for split in _SPLITS:
        for measure in before[split]:
            print(f"{split} {measure}: {_line(before[split][measure], [run[split][measure] for run in after])}")
    print(f"processor time of a training: {statistics.mean(run['seconds'] for run in after):.0f} s")


def _ranges(network: jetseg.Network, options: argparse.Namespace) -> jetseg.Ranges:
    place = options.out / "ptq.ranges.json"
    if place.exists():
        return jetseg.open_ranges(place, network)
    settings = {"split": "train", "targets": ("tensorrt",), "placement": options.placement}
    return jetseg.calibrate(network, data=options.data, out=place, **settings)


def _trained(network: jetseg.Network, ranges: jetseg.Ranges, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    started = time.process_time()
    result = jetseg.quantization_aware_train(
        network,
        data=options.data,
        out=options.out / f"seed{seed}.onnx",
        ranges=ranges,
        labels=False,
        seed=seed,
        epochs=options.epochs,
        frames=options.frames,
        batch_size=options.batch_size,
        **options.settings,
    )
    seconds = time.process_time() - started
    return {"seconds": seconds, "best_epoch": result.best_epoch, **_scores(result.ranges, network, options)}


def _scores(ranges: jetseg.Ranges, reference: jetseg.Network, options: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with simulate_tensorrt(ranges, threads=options.threads) as engine, jetseg.open_engine(reference) as other:
        for split in (open_split(options.data, name) for name in _SPLITS):
            meter = AgreementMeter(engine.segment, other.segment, engine.manifest, engine.manifest)
            try:
                found[split.split] = {"mIoU": measure_accuracy(meter, engine.manifest, split).miou}
            except DataError:  # other classes, or no labels
                found[split.split] = {}
                meter.run(split)
            found[split.split]["agreement"] = meter.agreement.percent
    return found


def _recorded(place: Path, make: Any) -> dict[str, Any]:
    if not place.exists():
        place.write_text(json.dumps(make(), indent=1) + "\n", encoding="utf-8")
    record: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
    return record


def _line(before: float, after: list[float]) -> str:
    mean, spread = statistics.mean(after), statistics.stdev(after) if len(after) > 1 else 0.0
    each = ", ".join(f"{value:.2f}" for value in after)
    return f"{before:.2f} after calibration; trained {mean:.2f} +- {spread:.2f} ({each}): {mean - before:+.2f}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", type=Path, help="float ONNX file")
    parser.add_argument("--manifest", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--placement", default="conv-inputs", help="where quantizers stand: conv-inputs or full")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--frames", type=int, default=120, help="of `train` to learn from, and of `val` at most")
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="further settings of `jetseg qat`")
    options = parser.parse_args()
    options.settings = {name: json.loads(value) for name, value in (entry.split("=", 1) for entry in options.set)}
    return options


if __name__ == "__main__":
    main()
