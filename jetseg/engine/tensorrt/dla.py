"""How a network would be divided between a Jetson's deep-learning accelerator and its GPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jetseg.engine.tensorrt.dla_layers import FREE, Layer
from jetseg.engine.tensorrt.dla_rules import dla_refusal
from jetseg.onnx.graph import Graph

MAX_LOADABLES = 16
"""Pieces of networks that one DLA core holds at a time."""


@dataclass(frozen=True)
class DlaPlan:
    """How a network would be divided.

    Attributes:
        on_dla: Nodes that the DLA takes, by first output.
        on_gpu: The others, each with the reason.
        pieces: Connected parts on the DLA; each is a loadable of its own, or several.
        hops: Tensors that go from one to the other.
    """

    on_dla: tuple[str, ...]
    on_gpu: Mapping[str, str]
    pieces: int
    hops: int


def plan_dla(graph: Graph) -> DlaPlan:
    """Divides a network between DLA and GPU, and counts the pieces and what goes between them.

    Args:
        graph: The network.
    """
    nodes = [node for node in graph.nodes if node.op_type not in FREE]
    refusals = {node.output[0]: dla_refusal(Layer(graph, node)) for node in nodes}
    on_dla = {name for name, reason in refusals.items() if reason is None}
    piece = {name: name for name in on_dla}
    crossing = set()
    for node in nodes:
        for source in (_source(graph, name) for name in node.input if name):
            if source not in refusals:
                continue
            together = (source in on_dla, node.output[0] in on_dla)
            if all(together):
                piece[_root(piece, node.output[0])] = _root(piece, source)
            elif any(together):
                crossing.add(source)
    return DlaPlan(
        on_dla=tuple(name for name, reason in refusals.items() if reason is None),
        on_gpu={name: reason for name, reason in refusals.items() if reason is not None},
        pieces=len({_root(piece, name) for name in on_dla}),
        hops=len(crossing),
    )


def _source(graph: Graph, name: str) -> str:
    """Returns the first output of the node that makes a tensor, seen through operators that leave no layer."""
    origin = graph.origin(name, FREE)
    node = graph.producer.get(origin)
    return str(node.output[0]) if node is not None else origin


def _root(piece: dict[str, str], name: str) -> str:
    while piece[name] != name:
        name = piece[name]
    return name
