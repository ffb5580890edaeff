"""Runs a network in pieces, so that few of its activations are held at a time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import onnx
import onnxruntime
from onnx import helper

from jetseg.onnx.graph import Graph
from jetseg.onnx.layerwise import Tensor
from jetseg.onnx.node import tensors_read
from jetseg.onnx.session import make_session, run_session

_FLOAT_BYTES = 4


@dataclass(frozen=True)
class _Piece:
    """Some of the nodes, one after the other.

    Attributes:
        session: Runs them.
        inputs: What they read of the network's inputs and of earlier pieces.
        outputs: What is wanted of them, or read by later pieces.
        last_read: Names that no later piece reads.
    """

    session: onnxruntime.InferenceSession
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    last_read: frozenset[str]


class PiecewiseRunner:
    """Gives activations of a network, with at most so many bytes of them at a time.

    Where a shape is not known before the network runs, it runs in one piece.

    Args:
        graph: The network.
        wanted: Names of the activations.
        limit_bytes: A piece ends where those it gives exceed this.
        threads: Threads of ONNX Runtime.
    """

    def __init__(self, graph: Graph, wanted: Iterable[str], limit_bytes: int, threads: int | None = None) -> None:
        self._wanted = frozenset(wanted)
        groups = _groups(graph, self._wanted, limit_bytes)
        reads = [{name for node in nodes for name in tensors_read(node)} for nodes in groups]
        self._pieces: list[_Piece] = []
        here: set[str] = set(graph.inputs)
        for place, nodes in enumerate(groups):
            made = {name for node in nodes for name in node.output if name}
            later = set().union(*reads[place + 1 :])
            inputs = tuple(sorted(reads[place] & here))
            outputs = tuple(sorted(made & (self._wanted | later)))
            if not outputs:
                continue
            ports = [_port(graph, name) for name in inputs]
            model = graph.part(nodes, ports, [onnx.ValueInfoProto(name=name) for name in outputs])
            session = make_session(model.SerializeToString(), threads=threads, arena=False)
            self._pieces.append(_Piece(session, inputs, outputs, frozenset((here | made) - later)))
            here = (here | made) & later

    def run(self, feeds: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        """Gives each wanted activation once."""
        live = dict(feeds)
        for piece in self._pieces:
            found = run_session(piece.session, piece.outputs, {name: live[name] for name in piece.inputs})
            live.update(zip(piece.outputs, found, strict=True))
            del found
            for name in piece.outputs:
                if name in self._wanted:
                    yield name, live[name]
                if name in piece.last_read:
                    del live[name]
            for name in piece.last_read:
                live.pop(name, None)


def _groups(graph: Graph, wanted: frozenset[str], limit_bytes: int) -> list[list[onnx.NodeProto]]:
    groups: list[list[onnx.NodeProto]] = [[]]
    held = 0
    for node in graph.nodes:
        groups[-1].append(node)
        for name in wanted.intersection(node.output):
            shape = graph.shapes.get(name)
            if shape is None or None in shape:
                return [list(graph.nodes)]
            held += _FLOAT_BYTES * math.prod(size for size in shape if size is not None)
        if held > limit_bytes:
            groups.append([])
            held = 0
    if not all(graph.types.get(name) for node in graph.nodes for name in node.output if name):
        return [list(graph.nodes)]
    return [group for group in groups if group]


def _port(graph: Graph, name: str) -> onnx.ValueInfoProto:
    known = next((port for port in graph.model.graph.input if port.name == name), None)
    return known or helper.make_tensor_value_info(name, graph.types[name], graph.shapes.get(name))
