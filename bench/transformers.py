"""A transformer in 8 bits, as it is and with outlier channels: what is lost, what runs on integers, and the speed.

    python bench/transformers.py NETWORK.onnx --data SPEC [--manifest FILE] [--images 16] [--frames 12]

The second network computes the same as the first: of every layer norm that only linear layers read, 6 channels are
made 25 times as wide, and the rows that read them as much narrower. Both are calibrated with default settings. Loss is
that of the logits against the float network's on the evaluation split, as signal over noise in decibels and as pixels
that keep their class: of ONNX Runtime's engine, and of TensorRT's arithmetic, simulated exactly. Speed is on one
thread, float and int8 in turn, by that thread's processor time; the fastest run of each counts.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from jetseg.data.dataset import open_dataset
from jetseg.engine.backend import find_backend
from jetseg.engine.build import build_engine
from jetseg.engine.config import BuildConfig
from jetseg.engine.engine import open_engine
from jetseg.engine.layer_timer import quiet_latencies_ms
from jetseg.engine.simulation import simulate_tensorrt
from jetseg.evaluation.accuracy import spread
from jetseg.network import Network, open_network, save_manifest
from jetseg.onnx.file import write_onnx
from jetseg.preprocess import NetworkInput, Preprocessor
from jetseg.quantization.calibration import calibrate
from jetseg.quantization.config import CalibrateConfig
from jetseg.quantization.ranges import Ranges

OUTLIERS, FACTOR = 6, 25.0
Infer = Callable[[NetworkInput], npt.NDArray[Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--manifest", type=Path)
    parser.add_argument("--images", type=int, default=16, help="to calibrate on")
    parser.add_argument("--frames", type=int, default=12, help="to measure on")
    given = parser.parse_args()
    network, dataset = open_network(given.network, given.manifest), open_dataset(given.data)
    split, preprocess = dataset.split("val"), Preprocessor(network.manifest.input)
    frames = [preprocess(split[index].image_hwc_u8).copy() for index in spread(len(split), given.frames)]
    config = CalibrateConfig(images=given.images, threads=1)
    with tempfile.TemporaryDirectory() as folder:
        for name in ("as it is", "with outlier channels"):
            place = Path(folder) / name.replace(" ", "-")
            place.mkdir()
            tried = network if name == "as it is" else with_outliers(network, place / "network.onnx")
            measure(name, tried, frames, calibrate(tried, dataset, config, place / "ranges.json"))


def measure(name: str, network: Network, frames: Sequence[NetworkInput], ranges: Ranges) -> None:
    """Builds and prints."""
    built = build_engine(network, BuildConfig(threads=1), ranges=ranges, out=ranges.path.with_name("net.int8.onnx"))
    report = built.report
    share = 100 * report.integer_macs / sum(report.macs.values())
    total = len(report.integer_layers) + len(report.float_layers)
    counted = f"{len(report.integer_layers)} of {total} products"
    print(f"{name}: {share:.1f} % of the multiply-accumulates on integers, {counted}")
    if built.contest and built.float_because:
        print(f"  int8 gains nothing, {built.contest.gain:.2f}: {built.manifest.precision} is handed over")
    with open_engine(network, threads=1) as exact, open_engine(built.path, threads=1) as engine:
        right = [np.array(exact.infer(frame)) for frame in frames]
        print(f"  ONNX Runtime: {loss(engine.infer, frames, right)}")
        with simulate_tensorrt(ranges, threads=1) as simulated:
            print(f"  TensorRT, simulated: {loss(simulated.infer, frames, right)}")
        calls = {"float": lambda: exact.infer(frames[0]), "int8": lambda: engine.infer(frames[0])}
        spent = quiet_latencies_ms(calls, rounds=10, seconds=0.2, clock=find_backend("onnxruntime").clock(1))
    gain = spent["float"] / spent["int8"]
    print(f"  float {spent['float']:.1f} ms, int8 {spent['int8']:.1f} ms: {gain:.2f}", flush=True)


def loss(infer: Infer, frames: Sequence[NetworkInput], right: Sequence[npt.NDArray[Any]]) -> str:
    """Says how far a network's logits are from the right ones."""
    found = [np.array(infer(frame)) for frame in frames]
    noise = sum(float(np.square(one - other).sum()) for one, other in zip(found, right, strict=True))
    signal = sum(float(np.square(one - one.mean()).sum()) for one in right)
    same = [float(np.mean(one.argmax(1) == other.argmax(1))) for one, other in zip(found, right, strict=True)]
    decibels = 10 * np.log10(signal / noise) if noise else np.inf
    return f"{decibels:.1f} dB, {100 * np.mean(same):.2f} % of the pixels keep their class"


def with_outliers(network: Network, path: Path) -> Network:
    """Writes the same function with a few wide channels behind its layer norms."""
    graph, rng = network.float_graph(), np.random.default_rng(0)
    for node in graph.nodes:
        readers = graph.readers(node.output[0])
        linear = readers and all(reader.op_type == "MatMul" and graph.owns(reader) for reader in readers)
        if node.op_type != "LayerNormalization" or not linear or not graph.owns(node):
            continue
        channels = rng.choice(len(graph.weight(node.input[1])), OUTLIERS, replace=False)
        factors = dict.fromkeys(node.input[1:], FACTOR) | {reader.input[1]: 1 / FACTOR for reader in readers}
        for name, factor in factors.items():
            values = graph.weight(name).copy()
            values[channels] *= factor
            graph.set_weight(name, values)
    write_onnx(path, graph.model)
    save_manifest(path, network.manifest)
    return open_network(path)


if __name__ == "__main__":
    main()
