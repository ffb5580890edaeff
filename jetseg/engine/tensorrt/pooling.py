"""Poolings with windows that TensorRT's parser refuses, rewritten exactly, each checked by value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper

from jetseg.errors import JetsegError
from jetseg.onnx.graph import Graph
from jetseg.onnx.node import attribute_ints, attribute_text, attributes

MOST_WINDOW = {1: 99_999, 2: 99_999, 3: 31_622_775}
"""Most elements of a window, by its number of axes: found by bisection in the parser of TensorRT-RTX 1.7.1."""
_WHOLE = {"AveragePool": "GlobalAveragePool", "MaxPool": "GlobalMaxPool"}
_PER_AXIS = frozenset({"kernel_shape", "strides", "dilations"})
"""Attributes with one number for each spatial axis, where 1 lets an axis be."""
_TOLERANCE = 1e-5


def too_large(node: onnx.NodeProto) -> bool:
    """Tells whether a pooling's window has more elements than TensorRT's parser takes."""
    kernel = attribute_ints(node, "kernel_shape")
    return math.prod(kernel) > MOST_WINDOW.get(len(kernel), MOST_WINDOW[2])


def split_large_windows_(graph: Graph) -> int:
    """Replaces poolings over huge windows; returns how many were replaced.

    A window that covers its input becomes a global pooling. Any other becomes one pooling for each axis, which is the
    same for means, also where padding is not counted, and for maxima. What comes out is compared with the original in
    ONNX Runtime, on random values; where the shape or ONNX Runtime is missing, or values differ, the pooling stays.

    Args:
        graph: The network; it is changed in place.
    """
    large = [node for node in graph.nodes if node.op_type in _WHOLE and len(node.output) == 1 and too_large(node)]
    return sum(_replace(graph, node) for node in large)


def _replace(graph: Graph, node: onnx.NodeProto) -> bool:
    shape = graph.shapes.get(node.input[0])
    if shape is None or any(size is None for size in shape):
        return False
    sizes = tuple(int(size) for size in shape if size is not None)
    covers = attribute_ints(node, "kernel_shape") == sizes[2:]
    padded = any(attribute_ints(node, "pads")) or attribute_text(node, "auto_pad", "NOTSET") not in ("NOTSET", "VALID")
    if covers and not padded:
        steps = [helper.make_node(_WHOLE[node.op_type], node.input, node.output, node.name)]
    else:
        steps = _one_for_each_axis(graph, node)
    if any(too_large(step) for step in steps) or not _same_values(graph, node, steps, sizes):
        return False
    *before, last = steps
    if before:
        graph.insert_before(node, *before)
    graph.replace_node(node, last)
    return True


def _one_for_each_axis(graph: Graph, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    given = attributes(node)
    rank = len(given["kernel_shape"])
    axes = [axis for axis in range(rank) if _works_on(given, axis, rank)]
    names = [graph.free_name(f"{node.output[0]}.axis{axis + 2}") for axis in axes[:-1]]
    sources, targets = [node.input[0], *names], [*names, node.output[0]]
    return [
        helper.make_node(node.op_type, [source], [target], f"{node.name or node.output[0]}.axis{axis + 2}", **alone)
        for axis, source, target in zip(axes, sources, targets, strict=True)
        for alone in [_for_axis(given, axis, rank)]
    ]


def _works_on(given: Mapping[str, Any], axis: int, rank: int) -> bool:
    alone = _for_axis(given, axis, rank)
    return any(alone[name] != [1] * rank for name in _PER_AXIS if name in alone) or any(alone.get("pads", ()))


def _for_axis(given: Mapping[str, Any], axis: int, rank: int) -> dict[str, Any]:
    """Returns a pooling's attributes as they are along one axis, and idle along the others."""
    alone = dict(given)
    for name in _PER_AXIS & alone.keys():
        alone[name] = [value if index == axis else 1 for index, value in enumerate(given[name])]
    if "pads" in alone:
        alone["pads"] = [value if index % rank == axis else 0 for index, value in enumerate(given["pads"])]
    return alone


def _same_values(graph: Graph, node: onnx.NodeProto, steps: list[onnx.NodeProto], sizes: tuple[int, ...]) -> bool:
    values = np.random.default_rng(0).standard_normal(sizes, dtype=np.float32)
    ends = [
        helper.make_tensor_value_info(node.input[0], onnx.TensorProto.FLOAT, sizes),
        helper.make_tensor_value_info(node.output[0], onnx.TensorProto.FLOAT, [None] * len(sizes)),
    ]
    try:
        from jetseg.onnx.session import make_session, run_session  # a device may have no ONNX Runtime

        before, after = (
            run_session(
                make_session(graph.part(nodes, ends[:1], ends[1:]).SerializeToString()),
                [node.output[0]],
                {node.input[0]: values},
            )[0]
            for nodes in ([node], steps)
        )
    except JetsegError:  # no ONNX Runtime, or it does not compute this form
        return False
    largest = float(np.abs(before).max(initial=0.0))
    return before.shape == after.shape and bool(np.abs(before - after).max(initial=0.0) <= _TOLERANCE * largest)
