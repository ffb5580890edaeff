"""Exact simulation: what a backend's arithmetic computes, told on a machine that does not have it."""

from __future__ import annotations

from jetseg.engine.engine import Engine
from jetseg.engine.onnxruntime.runner import OnnxRunner
from jetseg.quantization.config import Policy
from jetseg.quantization.ranges import Ranges
from jetseg.quantization.render import qdq_network


def simulate_tensorrt(
    ranges: Ranges,
    *,
    placement: Policy | None = None,
    keep_float: frozenset[str] = frozenset(),
    threads: int | None = None,
) -> Engine:
    """Opens a network as TensorRT would run it in INT8, for its accuracy; its speed means nothing.

    Every symmetric quantizer is computed as it stands, sums in float: nothing saturates, nothing is fused.

    Args:
        ranges: Ranges of the float network.
        placement: Another placement than the one that the ranges were made for.
        keep_float: Layers, by output, that stay in float.
        threads: Threads of ONNX Runtime.

    Raises:
        CalibrationError: The ranges are incomplete.
    """
    network = ranges.network
    described = network.manifest.changed(kind="engine", backend="tensorrt (simulated)", precision="int8")
    content = qdq_network(ranges, placement, keep_float).SerializeToString()
    return Engine(OnnxRunner(network.path, described, threads, content=content, optimize=False), network)
