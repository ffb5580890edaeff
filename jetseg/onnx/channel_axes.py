"""Where channels are counted: on axis 1 of images, on the last axis of a transformer's tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

import onnx

from jetseg.onnx.graph import Graph
from jetseg.onnx.node import attribute_int, attribute_ints
from jetseg.onnx.type_inference import Shape

IMAGE_AXIS = 1
_ON_IMAGES = frozenset({"Conv", "ConvTranspose", "BatchNormalization", "InstanceNormalization", "GroupNormalization"})
_RESHAPES = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze"})


def channel_axes(graph: Graph) -> dict[str, int]:
    """Returns the axis of the channels of each activation, as far as it is known.

    Convolutions write images, layer norms and linear layers write tokens, and what follows them keeps the channels
    where they are or carries them along. Other tensors with four axes are taken for images.
    """
    found: dict[str, int] = {}
    for name in graph.inputs:
        _note_(found, name, None, graph.shapes)
    for node in graph.nodes:
        known = [(name, found[name]) for name in node.input if name in found]
        followed = (followed_axis(graph, node, name, axis) for name, axis in known)
        axis = written_axis(graph, node, dict(known))
        if axis is None:
            axis = next((axis for axis in followed if axis is not None), None)
        for name in filter(None, node.output):
            _note_(found, name, axis, graph.shapes)
    return found


def written_axis(graph: Graph, node: onnx.NodeProto, axes: Mapping[str, int]) -> int | None:
    """Returns the axis of the channels that a layer or a norm writes; None for what carries on what it reads.

    Args:
        graph: The network.
        node: The node.
        axes: Axis of the channels of what it reads, as far as it is known.
    """
    if node.op_type in _ON_IMAGES or node.op_type == "Gemm":
        return IMAGE_AXIS
    last = len(graph.shapes.get(node.output[0], ())) - 1
    if (
        node.op_type == "MatMul"
        and last > 0
        and axes.get(node.input[0], last) == last
        and _is_matrix(graph, node.input[1])
    ):
        return last
    if node.op_type == "LayerNormalization" and last > 0 and attribute_int(node, "axis", -1) in (-1, last):
        return last
    return None


def followed_axis(graph: Graph, node: onnx.NodeProto, name: str, axis: int) -> int | None:
    """Returns the axis on which a node writes the channels that it reads on an axis; None if it does not keep them.

    Args:
        graph: The network.
        node: The node.
        name: The tensor that it reads.
        axis: Where that has its channels.
    """
    before, after = graph.shapes.get(name, ()), graph.shapes.get(node.output[0], ())
    if node.op_type == "Transpose":
        order = attribute_ints(node, "perm") or tuple(reversed(range(len(before))))
        return order.index(axis) if axis in order else None
    if node.op_type in _RESHAPES:
        return _regrouped_axis(before, after, axis)
    if node.op_type == "MatMul" and before and axis == len(before) - (1 if name == node.input[0] else 2):
        return None  # it sums over the channels
    if not before or not after:
        return axis
    same = len(before) == len(after) and before[axis] == after[axis]
    return axis if same else None


def _is_matrix(graph: Graph, name: str) -> bool:
    return name in graph.weights and len(graph.weights[name].dims) == 2


def _regrouped_axis(before: Shape, after: Shape, axis: int) -> int | None:
    """Returns where an axis is after its neighbors were joined or divided; None if it was itself."""
    if axis >= len(before) or None in before or None in after:
        return None
    places = (place for place, size in enumerate(after) if size == before[axis])
    return next((place for place in places if _product(after[:place]) == _product(before[:axis])), None)


def _product(sizes: Sequence[int | None]) -> int:
    return prod(size or 0 for size in sizes)


def _note_(found: dict[str, int], name: str, axis: int | None, shapes: Mapping[str, Shape]) -> None:
    if axis is None and len(shapes.get(name, ())) == 4:
        axis = IMAGE_AXIS
    if axis is not None:
        found[name] = axis
