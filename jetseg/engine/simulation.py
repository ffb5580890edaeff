"""Exact simulation: what a backend's arithmetic computes, told on a machine that does not have it."""

from __future__ import annotations

from pathlib import Path

from jetseg.engine.contract import Runner
from jetseg.engine.onnxruntime.runtime import OnnxRunner
from jetseg.quantization.ranges import Policy
from jetseg.quantization.render import load_calibrated, qdq_network


def simulate_tensorrt(
    model: Path,
    ranges_file: Path,
    *,
    placement: Policy | None = None,
    keep_float: frozenset[str] = frozenset(),
    manifest_file: Path | None = None,
    threads: int | None = None,
) -> Runner:
    """Opens a network as TensorRT would run it in INT8, for its accuracy; its speed means nothing.

    Every symmetric quantizer is computed as it stands, sums in float: nothing saturates, nothing is fused.

    Args:
        model: Float ONNX file.
        ranges_file: Its ranges file.
        placement: Another placement than the one that the ranges file was made for.
        keep_float: Layers, by output, that stay in float.
        manifest_file: A manifest elsewhere than beside the model.
        threads: Threads of ONNX Runtime.

    Raises:
        CalibrationError: The ranges file is stale or incomplete.
    """
    manifest, ranges, network = load_calibrated(model, ranges_file, manifest_file)
    described = manifest.model_copy(update={"kind": "engine", "backend": "tensorrt (simulated)", "precision": "int8"})
    content = qdq_network(network, ranges, placement, keep_float).SerializeToString()
    return OnnxRunner(model, described, threads, content=content, optimize=False)
