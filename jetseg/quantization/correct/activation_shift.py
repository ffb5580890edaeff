"""Activation shift: one-sided activations are centered on zero, so that symmetric quantizers waste no levels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

from jetseg.onnx.graph import Graph
from jetseg.onnx.node import attribute_int, attribute_ints, attribute_text

ONE_SIDED = frozenset({"PRelu", "LeakyRelu", "Sigmoid", "HardSigmoid", "HardSwish"})
"""Activations that are kernels of their own. Relu and Clip are computed within the convolution before them, and an
addition after them would break that."""
Shift = npt.NDArray[np.float64]
Absorber = tuple[onnx.NodeProto, Shift]


def shift_(graph: Graph, centers: Mapping[str, Shift], channels: Mapping[str, int]) -> tuple[str, ...]:
    """Subtracts each channel's center after an activation where the layers that read it can add it again.

    The subtraction is one addition of a constant, which backends fuse with the activation. It is added again by
    the bias of a convolution without padding or by the mean of a batch norm, also across additions and
    concatenations. Where a padded convolution reads the tensor it stays as it is: its padding is zero before and
    after, so the border would change.

    Args:
        graph: The network; it is changed, but computes the same.
        centers: Middle of the range of each channel, by activation: shape (channels,).
        channels: Number of channels of each activation.

    Returns:
        The tensors that were shifted, by their names before; the centered ones are called `NAME.centered`.
    """
    shifted = []
    for node in graph.nodes:
        name = node.output[0] if node.output else ""
        if node.op_type in ONE_SIDED and name in centers and np.any(centers[name]):
            absorbers = _absorbers(graph, name, centers[name], channels)
            if absorbers:
                _insert_(graph, node, centers[name])
                for reader, shift in absorbers:
                    absorb_shift_(graph, reader, shift)
                shifted.append(name)
    return tuple(shifted)


def _absorbers(graph: Graph, name: str, shift: Shift, channels: Mapping[str, int]) -> list[Absorber] | None:
    """Returns who can add a shift of a tensor again, or None if some reader cannot."""
    if name in graph.outputs:
        return None
    found: list[Absorber] = []
    for node in graph.readers(name):
        if _takes(graph, node, name):
            found.append((node, shift))
            continue
        if node.op_type == "Add" and not any(key in graph.weights for key in node.input):
            passed = shift * list(node.input).count(name)
        elif _joins_channels(node) and all(key in channels for key in node.input):
            passed = np.concatenate([shift if key == name else np.zeros(channels[key]) for key in node.input])
        else:
            return None
        further = _absorbers(graph, node.output[0], passed, channels)
        if further is None:
            return None
        found.extend(further)
    return found


def _takes(graph: Graph, node: onnx.NodeProto, name: str) -> bool:
    if node.input[0] != name or not graph.owns(node):
        return False
    if node.op_type == "BatchNormalization":
        return True
    plain = attribute_text(node, "auto_pad", "NOTSET") in ("NOTSET", "VALID") and not any(attribute_ints(node, "pads"))
    return node.op_type == "Conv" and plain


def _joins_channels(node: onnx.NodeProto) -> bool:
    return node.op_type == "Concat" and attribute_int(node, "axis", 0) == 1


def _insert_(graph: Graph, node: onnx.NodeProto, center: Shift) -> None:
    name, centered = node.output[0], graph.free_name(f"{node.output[0]}.centered")
    readers = graph.readers(name)
    constant = (-center).astype(np.float32).reshape(1, -1, 1, 1)
    offset = graph.add_initializer(graph.free_name(f"{name}.center"), constant)
    graph.insert_after(node, helper.make_node("Add", [name, offset], [centered]))
    for reader in readers:
        graph.replace_input(reader, name, centered)


def absorb_shift_(graph: Graph, node: onnx.NodeProto, shift: Shift) -> None:
    """Lets a convolution or batch norm add what each channel that it reads lacks; zeros that pad stay zeros."""
    if node.op_type == "BatchNormalization":
        mean = graph.weight(node.input[3]).astype(np.float64) - shift
        graph.set_weight(node.input[3], mean)
        return
    weight = graph.weight(node.input[1]).astype(np.float64)
    per_group = attribute_int(node, "group", 1)
    rows = np.repeat(shift.reshape(per_group, -1), weight.shape[0] // per_group, axis=0)
    added = (weight.reshape(weight.shape[0], weight.shape[1], -1).sum(axis=2) * rows).sum(axis=1)
    add_to_bias_(graph, node, added)


def add_to_bias_(graph: Graph, node: onnx.NodeProto, values: npt.NDArray[np.floating]) -> None:
    """Adds to the bias of a convolution, or to the shift of a batch norm; a layer without a bias gets one."""
    if len(node.input) > 2 and node.input[2]:
        graph.set_weight(node.input[2], graph.weight(node.input[2]) + values)
        return
    name = graph.add_initializer(graph.free_name(f"{node.output[0]}.bias"), np.asarray(values, dtype=np.float32))
    graph.set_inputs(node, [*node.input[:2], name])
