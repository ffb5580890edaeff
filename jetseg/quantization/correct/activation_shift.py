"""Activation shift: one-sided activations are centered on zero, so that symmetric quantizers waste no levels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from jetseg.onnx.graph import FloatGraph, attribute

ONE_SIDED = frozenset({"PRelu", "LeakyRelu", "Sigmoid", "HardSigmoid", "HardSwish"})
"""Activations that are kernels of their own. Relu and Clip are computed within the convolution before them, and an
addition after them would break that."""
Shift = npt.NDArray[np.float64]
Absorber = tuple[onnx.NodeProto, Shift]


def shift_(graph: FloatGraph, centers: Mapping[str, Shift], channels: Mapping[str, int]) -> tuple[str, ...]:
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
    for node in list(graph.model.graph.node):
        name = node.output[0] if node.output else ""
        if node.op_type in ONE_SIDED and name in centers and np.any(centers[name]):
            absorbers = _absorbers(graph, name, centers[name], channels)
            if absorbers:
                _insert_(graph, node, centers[name])
                for reader, shift in absorbers:
                    absorb_shift_(graph, reader, shift)
                graph.index()
                shifted.append(name)
    return tuple(shifted)


def _absorbers(graph: FloatGraph, name: str, shift: Shift, channels: Mapping[str, int]) -> list[Absorber] | None:
    """Returns who can add a shift of a tensor again, or None if some reader cannot."""
    if name in graph.outputs:
        return None
    found: list[Absorber] = []
    for node in {id(reader): reader for reader in graph.consumers[name]}.values():  # one may read it twice
        if _takes(graph, node, name):
            found.append((node, shift))
        elif node.op_type == "Add" and not any(key in graph.weights for key in node.input):
            further = _absorbers(graph, node.output[0], shift * list(node.input).count(name), channels)
            if further is None:
                return None
            found.extend(further)
        elif (
            node.op_type == "Concat" and attribute(node, "axis", 0) == 1 and all(key in channels for key in node.input)
        ):
            parts = [shift if key == name else np.zeros(channels[key]) for key in node.input]
            further = _absorbers(graph, node.output[0], np.concatenate(parts), channels)
            if further is None:
                return None
            found.extend(further)
        else:
            return None
    return found


def _takes(graph: FloatGraph, node: onnx.NodeProto, name: str) -> bool:
    names = [key for key in node.input[1:] if key]
    if node.input[0] != name or any(key not in graph.weights or len(graph.consumers[key]) != 1 for key in names):
        return False
    if node.op_type == "BatchNormalization":
        return True
    plain = all(entry.name != "auto_pad" or entry.s in (b"NOTSET", b"VALID") for entry in node.attribute) and all(
        entry.name != "pads" or not any(entry.ints) for entry in node.attribute
    )
    return node.op_type == "Conv" and plain


def _insert_(graph: FloatGraph, node: onnx.NodeProto, center: Shift) -> None:
    name = node.output[0]
    offset = f"{name}.center"
    graph.model.graph.initializer.append(
        numpy_helper.from_array((-center).astype(np.float32).reshape(1, -1, 1, 1), offset)
    )
    for reader in graph.consumers[name]:
        for position, key in enumerate(reader.input):
            if key == name:
                reader.input[position] = f"{name}.centered"
    position = list(graph.model.graph.node).index(node)
    graph.model.graph.node.insert(position + 1, helper.make_node("Add", [name, offset], [f"{name}.centered"]))


def absorb_shift_(graph: FloatGraph, node: onnx.NodeProto, shift: Shift) -> None:
    """Lets a convolution or batch norm add what each channel that it reads lacks; zeros that pad stay zeros."""
    if node.op_type == "BatchNormalization":
        mean = graph.weight(node.input[3]).astype(np.float64) - shift
        graph.set_weight(node.input[3], mean)
        return
    weight = graph.weight(node.input[1]).astype(np.float64)
    per_group = int(attribute(node, "group", 1))
    rows = np.repeat(shift.reshape(per_group, -1), weight.shape[0] // per_group, axis=0)
    added = (weight.reshape(weight.shape[0], weight.shape[1], -1).sum(axis=2) * rows).sum(axis=1)
    graph.add_to_bias(node, added)
