"""Operators for which ONNX Runtime has no integer kernel of their name, made of those that it has."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

from jetseg.onnx.graph import Graph
from jetseg.onnx.node import attribute_float
from jetseg.onnx.quantizers import DEQUANTIZE, QUANTIZE

Constants = tuple[float, npt.NDArray[Any]]
"""Scale and zero point of an activation."""

_LEVELS = 255.0


def in_integer_kernels_(
    graph: Graph, node: onnx.NodeProto, quantizers: MutableMapping[str, Constants]
) -> onnx.NodeProto | None:
    """Replaces an operator between quantizers by such that run on integers; others stay as they are.

    Args:
        graph: The network; it is changed in place.
        node: Reads dequantized values already.
        quantizers: Scale and zero point by activation; what is quantized here is added.

    Returns:
        The node whose output waits for its quantizer; None if all readers have a dequantizer already.
    """
    name = node.output[0]
    if node.op_type == "ReduceMean":
        return _replace_(graph, node, helper.make_node("GlobalAveragePool", node.input[:1], [name], node.name))
    if node.op_type == "HardSwish":
        share, _ = _hard_sigmoid_(graph, node, 1 / 6, 0.5)
        return _replace_(graph, node, helper.make_node("Mul", [node.input[0], share], [name], node.name))
    if node.op_type == "HardSigmoid":
        slope, offset = attribute_float(node, "alpha", 0.2), attribute_float(node, "beta", 0.5)
        share, added = _hard_sigmoid_(graph, node, slope, offset)
        graph.remove_node(node, share)
        quantizers[added] = quantizers[name]
        return None
    return node


def _hard_sigmoid_(graph: Graph, node: onnx.NodeProto, slope: float, offset: float) -> tuple[str, str]:
    """Inserts clip(slope * x + offset, 0, 1) before a node that reads x: an addition whose quantizer does the rest.

    It is slope * clip(x + offset / slope, 0, 1 / slope). The quantizer clips at both bounds, and the dequantizer has
    its scale times the slope.

    Returns:
        The dequantized result, and the tensor before the quantizer.
    """
    share = graph.free_name(f"{node.output[0]}.share")
    added, quantized = graph.free_name(f"{share}.added"), graph.free_name(f"{share}.quantized")

    def constant(key: str, value: np.generic) -> str:
        return graph.add_initializer(graph.free_name(f"{share}.{key}"), np.asarray(value))

    zero = constant("zero_point", np.uint8(0))
    shift = constant("shift", np.uint8(_LEVELS)), constant("shift_scale", np.float32(offset / slope / _LEVELS)), zero
    wide, narrow = constant("wide_scale", np.float32(1 / slope / _LEVELS)), constant("scale", np.float32(1 / _LEVELS))
    shifted = graph.free_name(f"{share}.shift.dequantized")
    graph.insert_before(
        node,
        helper.make_node(DEQUANTIZE, shift, [shifted], shifted),
        helper.make_node("Add", [node.input[0], shifted], [added], added),
        helper.make_node(QUANTIZE, [added, wide, zero], [quantized], quantized),
        helper.make_node(DEQUANTIZE, [quantized, narrow, zero], [share], share),
    )
    return share, added


def _replace_(graph: Graph, node: onnx.NodeProto, other: onnx.NodeProto) -> onnx.NodeProto:
    graph.replace_node(node, other)
    return graph.producer[other.output[0]]
