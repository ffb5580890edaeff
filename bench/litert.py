"""LiteRT against ONNX Runtime, and ranges of jetseg's against ai-edge-quantizer's own calibration.

    python bench/litert.py camvid-light.onnx ESPNET.onnx --data camvid:data/camvid [--manifest ESPNET.onnx=FILE]
    python bench/litert.py fast-scnn ddrnet-23-slim

A network of jetseg's registry, by its name, has random weights, and only its speed is measured. A file is calibrated on
the train split for both runtimes, and measured on the val split: mIoU in float and in 8 bits, pixels that keep the
float network's class, pixels that get the class that exact simulation of the scheme gives; with --rival the same float
file, quantized by ai-edge-quantizer with its own calibration on the same images. Every scale in jetseg's file is read
back and compared with its range while it is built. Speed is on one thread, all engines in turn, by that thread's
processor time; the fastest run of each counts.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from jetseg.data.dataset import Dataset, open_dataset
from jetseg.engine.backend import BuildRequest, find_backend
from jetseg.engine.engine import Engine, open_engine
from jetseg.engine.layer_timer import quiet_latencies_ms
from jetseg.engine.litert.conversion import convert
from jetseg.engine.litert.layout import channels_last
from jetseg.engine.simulation import simulate_litert
from jetseg.engine.timing import build_for_timing
from jetseg.evaluation.accuracy import measure_accuracy, spread
from jetseg.evaluation.agreement import AgreementMeter
from jetseg.evaluation.benchmark import inference_on_noise
from jetseg.input_spec import InputSpec
from jetseg.manifest import Manifest, ModelSpec
from jetseg.models.registry import create_model
from jetseg.network import Network, open_network, save_manifest
from jetseg.output_spec import OutputSpec
from jetseg.preprocess import Preprocessor
from jetseg.quantization.calibration import calibrate
from jetseg.quantization.config import CalibrateConfig
from jetseg.quantization.ranges import Ranges
from jetseg.registry import NETWORKS
from jetseg.training.checkpoint import save_checkpoint
from jetseg.workflows.exporting import export

ENGINES = [("onnxruntime", "fp32"), ("onnxruntime", "int8"), ("litert", "fp32"), ("litert", "int8")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="+")
    parser.add_argument("--data")
    parser.add_argument("--manifest", action="append", default=[], metavar="NETWORK=FILE")
    parser.add_argument("--images", type=int, default=32, help="to calibrate on")
    parser.add_argument("--frames", type=int, help="to measure on; all by default")
    parser.add_argument("--preset", default="accurate")
    parser.add_argument("--rival", action="store_true", help="also let ai-edge-quantizer calibrate")
    parser.add_argument("--rounds", type=int, default=20)
    given = parser.parse_args()
    manifests = dict(text.split("=", 1) for text in given.manifest)
    dataset = open_dataset(given.data) if given.data else None
    for name in given.networks:
        with tempfile.TemporaryDirectory() as folder:
            random = name in NETWORKS.names()
            network = random_network(name, Path(folder)) if random else open_network(name, manifests.get(name))
            print(f"\n{network.name}", flush=True)
            if random or dataset is None:
                engines = {f"{b} {p}": build_for_timing(network, Path(folder), b, p) for b, p in ENGINES}
            else:
                engines = measure(network, dataset, Path(folder), given)
            speed(engines, given.rounds)


def random_network(name: str, folder: Path) -> Network:
    torch.manual_seed(0)
    spec = InputSpec(height=360, width=480, scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    outputs = (OutputSpec(classes=tuple(f"class {number}" for number in range(11))),)
    manifest = Manifest(kind="checkpoint", outputs=outputs, input=spec, model=ModelSpec(factory=name))
    save_checkpoint(folder / f"{name}.safetensors", create_model(name, 11).eval(), manifest)
    return export(folder / f"{name}.safetensors").network


def measure(network: Network, dataset: Dataset, folder: Path, given: argparse.Namespace) -> dict[str, Network]:
    config = CalibrateConfig(images=given.images, threads=1, preset=given.preset, targets=("litert", "onnxruntime"))
    ranges = calibrate(network, dataset, config, folder / "ranges.json")
    engines = {f"{b} {p}": build(network, ranges, b, p, folder) for b, p in ENGINES}
    split = dataset.split("val")
    parent = open_engine(network)

    def told(label: str, engine: Engine, reference: Engine | None = None) -> None:
        meter = AgreementMeter(engine.segment, (reference or parent).segment, engine.manifest, parent.manifest)
        score = measure_accuracy(meter, engine.manifest, split, frames=given.frames)
        against = "the simulation" if reference else "float"
        print(f"  {label:24} mIoU {score.miou:6.2f}  {meter.agreement.percent:7.3f} % as {against}", flush=True)

    told("float", parent)
    for label in ("onnxruntime int8", "litert fp32", "litert int8"):
        told(label, open_engine(engines[label]))
    told("litert int8", open_engine(engines["litert int8"]), simulate_litert(ranges))
    if given.rival:
        told("ai-edge-quantizer int8", open_engine(rival(network, dataset, folder, given.images)))
    return engines


def build(network: Network, ranges: Ranges, name: str, precision: Any, folder: Path) -> Network:
    backend = find_backend(name)
    place = folder / f"{name}.{precision}{backend.suffix}"
    source, record = (network, None) if precision == "fp32" else (ranges.network_for(name), ranges.record)
    scheme, options = backend.find_scheme(precision, None), backend.options()
    report = backend.build(BuildRequest(source, precision, record, place, frozenset(), options, scheme))
    if record:
        print(f"  {name}: {len(report.integer_layers)} layers on integers, {len(report.float_layers)} in float")
    described = network.manifest.changed(kind="engine", precision=precision, backend=name, parity=None)
    save_manifest(place, described)
    return open_network(place)


def rival(network: Network, dataset: Dataset, folder: Path, images: int) -> Network:
    """The same float file, calibrated and quantized by ai-edge-quantizer as its documentation says."""
    from ai_edge_quantizer import quantizer, recipe

    float_file, out = folder / "rival.fp32.tflite", folder / "rival.int8.tflite"
    float_file.write_bytes(convert(network))
    split, preprocess = dataset.split("train"), Preprocessor(network.manifest.input)
    frames = (split[index].image_hwc_u8 for index in spread(len(split), images))
    feeds = [{"args_0": channels_last(preprocess(frame), network.manifest)} for frame in frames]
    job = quantizer.Quantizer(str(float_file))
    job.load_quantization_recipe(recipe.static_wi8_ai8())
    out.write_bytes(job.quantize(job.calibrate({"serving_default": feeds})).quantized_model)
    save_manifest(out, network.manifest.changed(kind="engine", precision="int8", backend="litert", parity=None))
    return open_network(out)


def speed(engines: dict[str, Network], rounds: int) -> None:
    calls = {label: inference_on_noise(open_engine(engine, threads=1)) for label, engine in engines.items()}
    found = quiet_latencies_ms(calls, rounds=rounds, seconds=0.2, clock=time.thread_time)
    for label, ms in found.items():
        print(f"  {label:24} {ms:7.2f} ms", flush=True)
    print(f"  int8, LiteRT over ONNX Runtime: {found['onnxruntime int8'] / found['litert int8']:.2f} times as fast")


if __name__ == "__main__":
    main()
