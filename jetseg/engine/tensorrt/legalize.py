"""Exact rewrites of networks that TensorRT's parser refuses although TensorRT can compute them."""

from __future__ import annotations

from collections.abc import Callable

import onnx
from onnx import TensorProto, helper

_MOVERS = frozenset({"Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Identity"})
"""Operators that only move values, and take any type."""


def legalize_(model: onnx.ModelProto) -> tuple[str, ...]:
    """Applies every rewrite; returns a sentence for each one that found something.

    Args:
        model: The network; it is changed in place.
    """
    passes: tuple[tuple[Callable[[onnx.ModelProto], int], str], ...] = (
        (cast_frames_first_, "the uint8 frame is cast before its axes are reordered"),
        (cast_class_maps_last_, "the class map becomes uint8 at the network's end only"),
        (drop_unread_indices_, "indices of max pooling that nothing reads are left out"),
    )
    return tuple(sentence for rewrite, sentence in passes if rewrite(model))


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


def cast_class_maps_last_(model: onnx.ModelProto) -> int:
    """Lets integers become uint8 only after the last mover before an output; returns how many were rewritten.

    TensorRT takes uint8 at the network's ends alone. A cast to uint8 whose result is moved before it leaves the network
    goes behind the movers, which then move what the cast read: the values are the same. A cast that anything else reads
    is left alone.

    Args:
        model: The network; it is changed in place.
    """
    graph = model.graph
    outputs = {port.name for port in graph.output}
    rewritten = 0
    for cast in [node for node in graph.node if node.op_type == "Cast" and _casts_to(node, TensorProto.UINT8)]:
        movers = _movers_to_output(graph, cast.output[0], outputs)
        if not movers:
            continue
        result = movers[-1].output[0]
        before = f"{result}.before_cast"
        movers[-1].output[0] = before
        movers[0].input[0] = cast.input[0]
        graph.node.remove(cast)
        cast.input[0], cast.output[0] = before, result
        graph.node.append(cast)
        rewritten += 1
    if rewritten:
        del graph.value_info[:]  # types between the old cast and the output have changed
    return rewritten


def drop_unread_indices_(model: onnx.ModelProto) -> int:
    """Drops the second output of max pooling where nothing reads it; returns how many were dropped.

    TensorRT's pooling has one output.

    Args:
        model: The network; it is changed in place.
    """
    graph = model.graph
    read = {name for node in graph.node for name in node.input} | {port.name for port in graph.output}
    unread = [node for node in graph.node if node.op_type == "MaxPool" and len(node.output) > 1]
    unread = [node for node in unread if node.output[1] not in read]
    for node in unread:
        del node.output[1:]
    return len(unread)


def _casts_to(node: onnx.NodeProto, dtype: int) -> bool:
    return any(entry.name == "to" and entry.i == dtype for entry in node.attribute)


def _movers_to_output(graph: onnx.GraphProto, tensor: str, outputs: set[str]) -> list[onnx.NodeProto]:
    """Returns the movers, one after the other, that bring a tensor to an output; none if it goes another way too."""
    movers: list[onnx.NodeProto] = []
    while tensor not in outputs:
        readers = [node for node in graph.node if tensor in node.input]
        if len(readers) != 1 or readers[0].op_type not in _MOVERS or readers[0].input[0] != tensor:
            return []
        movers.append(readers[0])
        tensor = readers[0].output[0]
    return [] if any(tensor in node.input for node in graph.node) else movers
