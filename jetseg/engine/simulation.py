"""Exact simulation: what a backend's arithmetic computes, told on a machine that does not have it."""

from __future__ import annotations

from jetseg.engine.engine import Engine
from jetseg.engine.onnxruntime.runner import OnnxRunner
from jetseg.manifest import Precision
from jetseg.network import Network
from jetseg.onnx.bfloat import round_to_bfloat16_
from jetseg.quantization.arithmetic import Arithmetic
from jetseg.quantization.config import Policy, SchemeName
from jetseg.quantization.qdq.placement import check_layers
from jetseg.quantization.qdq.schemes import SCHEMES
from jetseg.quantization.ranges import Ranges
from jetseg.quantization.render import qdq_network


def simulate(
    network: Network,
    precision: Precision,
    ranges: Ranges | None = None,
    scheme: SchemeName | None = None,
    keep_float: frozenset[str] = frozenset(),
    threads: int | None = None,
) -> Engine | None:
    """Opens a network as TensorRT would run it in a precision; None for one that is not simulated, float16."""
    if precision == "bf16":
        return simulate_bfloat16(network, threads=threads)
    if ranges is None:
        return None
    return simulate_tensorrt(ranges, keep_float=keep_float, threads=threads, scheme=scheme or "int8")


def simulate_tensorrt(
    ranges: Ranges,
    *,
    placement: Policy | None = None,
    keep_float: frozenset[str] = frozenset(),
    threads: int | None = None,
    scheme: SchemeName = "int8",
) -> Engine:
    """Opens a network as TensorRT would run it with quantizers, for its accuracy; its speed means nothing.

    Every quantizer is computed as it stands, sums in float: nothing saturates, nothing is fused.

    Args:
        ranges: Ranges of the float network.
        placement: Another placement than the one that the ranges were made for.
        keep_float: Layers, by output, that stay in float.
        threads: Threads of ONNX Runtime.
        scheme: What the quantizers compute.

    Raises:
        CalibrationError: The ranges are incomplete.
    """
    number = SCHEMES[scheme]
    content = qdq_network(ranges, placement, keep_float, number).SerializeToString()
    return _opened(ranges.network, number.precision, content, threads)


def simulate_litert(
    ranges: Ranges,
    *,
    keep_float: frozenset[str] = frozenset(),
    threads: int | None = None,
    scheme: SchemeName = "uint8",
    heads: bool = False,
) -> Engine:
    """Opens a network as LiteRT would run it with quantizers, for its accuracy; its speed means nothing.

    Args:
        ranges: Ranges of the float network.
        keep_float: Layers, by output, that stay in float.
        threads: Threads of ONNX Runtime.
        scheme: What the quantizers compute; "uint8" is LiteRT's int8, whose numbers are 128 less.
        heads: Whether the last layers are on integers as well.

    Raises:
        CalibrationError: The ranges are incomplete.
        ConfigError: A layer in `keep_float` does not exist.
    """
    arithmetic, tensors = Arithmetic(SCHEMES[scheme], "litert", heads), ranges.tensors
    graph = ranges.network_for(arithmetic.corrected_for).float_graph()
    check_layers(graph.producer, keep_float)
    placement = arithmetic.place(graph, ranges.placement, tensors, keep_float)
    content = arithmetic.render(graph, placement, tensors).SerializeToString()
    return _opened(ranges.network, arithmetic.scheme.precision, content, threads, "litert")


def simulate_bfloat16(network: Network, *, threads: int | None = None) -> Engine:
    """Opens a network as TensorRT would run it in bfloat16, for its accuracy.

    Every operator's result is rounded, sums are in float; TensorRT, which fuses operators, rounds less often.
    """
    graph = network.float_graph()
    round_to_bfloat16_(graph)
    return _opened(network, "bf16", graph.model.SerializeToString(), threads)


def _opened(
    network: Network, precision: Precision, content: bytes, threads: int | None, backend: str = "tensorrt"
) -> Engine:
    described = network.manifest.changed(kind="engine", backend=f"{backend} (simulated)", precision=precision)
    return Engine(OnnxRunner(network.path, described, threads, content=content, optimize=False), network)
