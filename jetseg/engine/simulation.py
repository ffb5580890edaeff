"""Exact simulation: what a backend's arithmetic computes, told on a machine that does not have it."""

from __future__ import annotations

from pathlib import Path

from jetseg.calibrate.graph import load_float_graph
from jetseg.calibrate.placement import place_symmetric
from jetseg.calibrate.qdq import render_symmetric_
from jetseg.calibrate.ranges import Policy, Ranges, calibrated_network, load_ranges
from jetseg.engine.contract import Runner
from jetseg.engine.onnxruntime.runtime import OnnxRunner
from jetseg.manifest import load_manifest
from jetseg.storage import sha256_file


def simulate_tensorrt(
    model: Path,
    ranges_file: Path,
    *,
    placement: Policy | None = None,
    manifest_file: Path | None = None,
    threads: int | None = None,
) -> Runner:
    """Opens a network as TensorRT would run it in INT8, for its accuracy; its speed means nothing.

    Every symmetric quantizer is computed as it stands, sums in float: nothing saturates, nothing is fused.

    Args:
        model: Float ONNX file.
        ranges_file: Its ranges file.
        placement: Another placement than the one that the ranges file was made for.
        manifest_file: A manifest elsewhere than beside the model.
        threads: Threads of ONNX Runtime.

    Raises:
        CalibrationError: The ranges file is stale or incomplete.
    """
    manifest = load_manifest(model, manifest_file)
    ranges = load_ranges(ranges_file, model_sha256=sha256_file(model), preprocessing=manifest.input)
    content = tensorrt_network(calibrated_network(ranges_file, ranges, "tensorrt", model), ranges, placement)
    described = manifest.model_copy(update={"kind": "engine", "backend": "tensorrt (simulated)", "precision": "int8"})
    return OnnxRunner(model, described, threads, content=content, optimize=False)


def tensorrt_network(network: Path, ranges: Ranges, placement: Policy | None = None) -> bytes:
    """Renders the Q/DQ network that TensorRT builds an INT8 engine from, as a serialized ONNX model.

    Args:
        network: The float network that the ranges hold for.
        ranges: Ranges of its activations.
        placement: Another placement than the one that the ranges were made for.
    """
    graph = load_float_graph(network)
    where = place_symmetric(graph, placement or ranges.placement, ranges.tensors)
    content: bytes = render_symmetric_(graph, where, ranges.tensors).SerializeToString()
    return content
