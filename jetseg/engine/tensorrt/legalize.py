"""Exact rewrites of networks that TensorRT's parser refuses although TensorRT can compute them."""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

_MOVERS = frozenset({"Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Identity"})
"""Operators that only move values, and take any type."""


def cast_frames_first_(model: onnx.ModelProto) -> int:
    """Turns uint8 inputs into float32 before anything else reads them; returns how many were rewritten.

    TensorRT takes uint8 at the network's ends alone, and there only a Cast may read it. A frame whose axes are
    reordered before it is cast is cast first instead; 0 to 255 are exact in float32. An input that anything but movers
    and casts reads is left alone.

    Args:
        model: The network; it is changed in place.
    """
    graph = model.graph
    rewritten = 0
    for port in graph.input:
        if port.type.tensor_type.elem_type != TensorProto.UINT8 or not _only_moved(graph, port.name):
            continue
        name = f"{port.name}.float"
        for node in graph.node:
            node.input[:] = [name if given == port.name else given for given in node.input]
        graph.node.insert(0, helper.make_node("Cast", [port.name], [name], f"{port.name}.cast", to=TensorProto.FLOAT))
        rewritten += 1
    if rewritten:
        del graph.value_info[:]  # types between the input and its old cast have changed
    return rewritten


def _only_moved(graph: onnx.GraphProto, tensor: str) -> bool:
    """Tells whether only movers, and casts at their ends, read a tensor, and at least one mover does so first."""
    readers = [node for node in graph.node if tensor in node.input]
    if not readers or tensor in {port.name for port in graph.output}:
        return False
    if all(node.op_type == "Cast" for node in readers):
        return False  # as TensorRT wants it
    return all(_ends_in_casts(graph, node) for node in readers)


def _ends_in_casts(graph: onnx.GraphProto, node: onnx.NodeProto) -> bool:
    if node.op_type == "Cast":
        return True
    if node.op_type not in _MOVERS or node.output[0] in {port.name for port in graph.output}:
        return False
    return all(_ends_in_casts(graph, reader) for reader in graph.node if node.output[0] in reader.input)
