"""Networks in bfloat16: rewritten for a backend that computes in it, or rounded to it where nothing does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from jetseg.onnx.graph import Graph

_STAY_FLOAT = frozenset(
    {"ConvTranspose", "HardSwish", "Mish", "Celu", "GRU"}  # TensorRT-RTX 1.7.1 refuses them in bfloat16
    | {"RandomNormalLike", "RandomUniformLike"}  # likewise
    | {"Constant", "ConstantOfShape", "EyeLike", "RandomNormal", "RandomUniform"}  # an attribute says their type
    | {"QuantizeLinear", "DequantizeLinear"}
)
"""Operators that stay in float32."""
_SHORT = "tensor(bfloat16)"
_BFLOAT16 = np.dtype(helper.tensor_dtype_to_np_dtype(TensorProto.BFLOAT16))


def to_bfloat16_(graph: Graph) -> None:
    """Rewrites a float32 network so that it computes in bfloat16, for TensorRT; inputs and outputs stay float32.

    Operators that are not to be had in bfloat16 stay in float32, with casts around them.
    """
    parts = _Parts(graph)
    for node in parts.nodes:
        for entry in node.attribute if node.op_type == "Cast" else ():
            if entry.name == "to" and entry.i == TensorProto.FLOAT:
                entry.i = TensorProto.BFLOAT16
        parts.round_weights_(node, _BFLOAT16)
    for name in parts.floats:
        if name not in parts.made:
            parts.lead_through_(name, [TensorProto.BFLOAT16], inside=True)
        elif name in graph.outputs:
            short, readers = graph.free_name(f"{name}.bfloat16"), graph.readers(name)
            graph.interpose(helper.make_node("Cast", [short], [name], to=TensorProto.FLOAT))
            parts.reroute_(name, short, readers, inside=True)
        else:
            parts.lead_through_(name, [TensorProto.FLOAT], inside=False)
    graph.drop_unused()
    graph.forget_types()


def round_to_bfloat16_(graph: Graph) -> None:
    """Rounds what the network of `to_bfloat16_` would hold in bfloat16, and computes in float32.

    Each operator's result is rounded, and its weights are.
    """
    parts = _Parts(graph)
    for node in parts.nodes:
        parts.round_weights_(node, np.dtype(np.float32))
    for name in parts.floats:
        if name not in parts.made:
            parts.lead_through_(name, [TensorProto.BFLOAT16, TensorProto.FLOAT], inside=True)
            continue
        short = graph.free_name(f"{name}.bfloat16")
        graph.interpose(helper.make_node("Cast", [short], [name], to=TensorProto.FLOAT))
        exact = graph.free_name(f"{name}.exact")
        graph.interpose(helper.make_node("Cast", [exact], [short], to=TensorProto.BFLOAT16))
    graph.drop_unused()


class _Parts:
    """A float32 network, parted into operators that shall compute in bfloat16 and others.

    Attributes:
        nodes: Those in bfloat16, in graph order.
        floats: All activations that hold float32.
        made: Those of them that such operators make.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self.floats = tuple(sorted(graph.float_tensors()))
        self.nodes = [node for node in graph.nodes if _can_be_short(node)]
        self.made = {name for node in self.nodes for name in node.output}.intersection(self.floats)
        self._inside = {id(node) for node in self.nodes}

    def round_weights_(self, node: onnx.NodeProto, kind: np.dtype[Any]) -> None:
        """Lets a node read its float32 weights rounded to bfloat16, as values of a type."""
        inputs = list(node.input)
        for index, name in enumerate(inputs):
            weight = self._graph.weights.get(name)
            if weight is not None and weight.data_type == TensorProto.FLOAT and _takes_short(node, index):
                values = self._graph.weight(name).astype(_BFLOAT16).astype(kind)
                inputs[index] = self._graph.add_initializer(self._graph.free_name(f"{name}.rounded"), values)
        self._graph.set_inputs(node, inputs)

    def lead_through_(self, name: str, kinds: Sequence[int], *, inside: bool) -> None:
        """Puts casts between a tensor and those who read it inside, or outside, the part in bfloat16."""
        readers = self._graph.readers(name)
        if not any(self._reads(node, index, name) is inside for node in readers for index in range(len(node.input))):
            return
        place, source = self._graph.producer.get(name), name
        for kind in kinds:
            cast = helper.make_node("Cast", [source], [self._graph.free_name(f"{name}.cast")], to=kind)
            place = self._graph.insert_after(place, cast)
            source = place.output[0]
        self.reroute_(name, source, readers, inside=inside)

    def reroute_(self, name: str, source: str, readers: Sequence[onnx.NodeProto], *, inside: bool) -> None:
        """Lets those who read a tensor inside, or outside, the part in bfloat16 read another one."""
        for node in readers:
            reads = [self._reads(node, index, name) is inside for index in range(len(node.input))]
            inputs = [source if wanted else old for wanted, old in zip(reads, node.input, strict=True)]
            self._graph.set_inputs(node, inputs)

    def _reads(self, node: onnx.NodeProto, index: int, name: str) -> bool | None:
        """Tells whether a node reads a tensor in bfloat16; None if that input is another tensor."""
        if node.input[index] != name:
            return None
        return id(node) in self._inside and _takes_short(node, index)


def _can_be_short(node: onnx.NodeProto) -> bool:
    """Tells whether an operator computes in bfloat16, where it computes in floats at all."""
    if node.domain not in ("", "ai.onnx") or node.op_type in _STAY_FLOAT or not onnx.defs.has(node.op_type):
        return False
    schema = onnx.defs.get_schema(node.op_type)
    return any(_SHORT in port.types for port in schema.outputs)


def _takes_short(node: onnx.NodeProto, index: int) -> bool:
    """Tells whether an input of an operator may be bfloat16."""
    ports = onnx.defs.get_schema(node.op_type).inputs
    return _SHORT in ports[min(index, len(ports) - 1)].types
