"""Exact rewrites of networks that TensorRT's parser refuses although TensorRT can compute them."""

from __future__ import annotations

from collections.abc import Callable

import onnx
from onnx import TensorProto, helper

from jetseg.engine.tensorrt.pooling import split_large_windows_
from jetseg.onnx.graph import Graph
from jetseg.onnx.node import attribute_int

_MOVERS = frozenset({"Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Identity"})
"""Operators that only move values, and take any type."""


def legalize_(graph: Graph) -> tuple[str, ...]:
    """Applies every rewrite; returns a sentence for each one that found something.

    Args:
        graph: The network; it is changed in place.
    """
    passes: tuple[tuple[Callable[[Graph], int], str], ...] = (
        (cast_frames_first_, "the uint8 frame is cast before its axes are reordered"),
        (cast_class_maps_last_, "the class map becomes uint8 at the network's end only"),
        (drop_unread_indices_, "indices of max pooling that nothing reads are left out"),
        (
            split_large_windows_,
            "poolings over windows beyond what TensorRT takes are split, axis by axis or into a mean",
        ),
    )
    return tuple(sentence for rewrite, sentence in passes if rewrite(graph))


def cast_frames_first_(graph: Graph) -> int:
    """Turns uint8 inputs into float32 before anything else reads them; returns how many were rewritten.

    TensorRT takes uint8 at the network's ends alone, and there only a Cast may read it. A frame whose axes are
    reordered before it is cast is cast first instead; 0 to 255 are exact in float32. An input that anything but movers
    and casts reads is left alone.

    Args:
        graph: The network; it is changed in place.
    """
    rewritten = 0
    for frame in graph.inputs:
        if graph.types.get(frame) != TensorProto.UINT8 or not _only_moved(graph, frame):
            continue
        readers, name = graph.readers(frame), graph.free_name(f"{frame}.float")
        graph.insert_after(None, helper.make_node("Cast", [frame], [name], f"{frame}.cast", to=TensorProto.FLOAT))
        for node in readers:
            graph.replace_input(node, frame, name)
        rewritten += 1
    if rewritten:
        graph.forget_types()  # those between the input and its old cast have changed
    return rewritten


def _only_moved(graph: Graph, tensor: str) -> bool:
    """Tells whether only movers, and casts at their ends, read a tensor, and at least one mover does so first."""
    readers = graph.readers(tensor)
    if not readers or tensor in graph.outputs:
        return False
    if all(node.op_type == "Cast" for node in readers):
        return False  # as TensorRT wants it
    return all(_ends_in_casts(graph, node) for node in readers)


def _ends_in_casts(graph: Graph, node: onnx.NodeProto) -> bool:
    if node.op_type == "Cast":
        return True
    if node.op_type not in _MOVERS or node.output[0] in graph.outputs:
        return False
    return all(_ends_in_casts(graph, reader) for reader in graph.readers(node.output[0]))


def cast_class_maps_last_(graph: Graph) -> int:
    """Lets integers become uint8 only after the last mover before an output; returns how many were rewritten.

    TensorRT takes uint8 at the network's ends alone. A cast to uint8 whose result is moved before it leaves the network
    goes behind the movers, which then move what the cast read: the values are the same. A cast that anything else reads
    is left alone.

    Args:
        graph: The network; it is changed in place.
    """
    rewritten = 0
    for cast in graph.nodes:
        if cast.op_type != "Cast" or attribute_int(cast, "to", 0) != TensorProto.UINT8:
            continue
        movers = _movers_to_output(graph, cast.output[0])
        if not movers:
            continue
        result = movers[-1].output[0]
        graph.remove_node(cast, instead=cast.input[0])
        moved = onnx.NodeProto()
        moved.CopyFrom(cast)
        moved.input[0], moved.output[0] = graph.free_name(f"{result}.before_cast"), result
        graph.interpose(moved)
        rewritten += 1
    if rewritten:
        graph.forget_types()  # those between the old cast and the output have changed
    return rewritten


def drop_unread_indices_(graph: Graph) -> int:
    """Drops the second output of max pooling where nothing reads it; returns how many were dropped.

    TensorRT's pooling has one output.

    Args:
        graph: The network; it is changed in place.
    """
    needed = {*graph.consumers, *graph.outputs}
    unread = [node for node in graph.nodes if node.op_type == "MaxPool" and len(node.output) > 1]
    unread = [node for node in unread if node.output[1] not in needed]
    for node in unread:
        graph.drop_outputs(node, 1)
    return len(unread)


def _movers_to_output(graph: Graph, tensor: str) -> list[onnx.NodeProto]:
    """Returns the movers, one after the other, that bring a tensor to an output; none if it goes another way too."""
    movers: list[onnx.NodeProto] = []
    while tensor not in graph.outputs:
        readers = graph.readers(tensor)
        if len(readers) != 1 or readers[0].op_type not in _MOVERS or readers[0].input[0] != tensor:
            return []
        movers.append(readers[0])
        tensor = readers[0].output[0]
    return [] if graph.readers(tensor) else movers
