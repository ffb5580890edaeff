"""Runs a graph node by node over several frames at once, so that each layer can be changed before it runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

from jetseg.onnx.graph import Graph
from jetseg.onnx.session import make_session, run_session

Tensor = npt.NDArray[Any]
_SUBSTITUTE = ".substitute"


class LayerwiseRunner:
    """Holds the live activations of some frames and runs one node at a time on them.

    Args:
        graph: The network; its weights are read when a node runs, so they may be changed until then.
        feeds: Graph inputs, one mapping per frame.
        threads: Threads of ONNX Runtime.
    """

    def __init__(self, graph: Graph, feeds: Sequence[Mapping[str, Tensor]], threads: int | None = None) -> None:
        self._graph = graph
        self._threads = threads
        self.frames: list[dict[str, Tensor]] = [dict(feed) for feed in feeds]
        self._unread = Counter(name for node in graph.nodes for name in set(node.input))

    def run(self, node: onnx.NodeProto) -> None:
        """Runs the next node on what was computed before and forgets what no later node reads."""
        self.advance(node, self.evaluate(node, {name: name for name in node.input if name}))

    def advance(self, node: onnx.NodeProto, outputs_by_frame: Sequence[Sequence[Tensor]]) -> None:
        """Takes over what `evaluate` returned for the next node and forgets what no later node reads."""
        outputs = [name for name in node.output if name]
        for frame, values in zip(self.frames, outputs_by_frame, strict=True):
            frame.update(zip(outputs, values, strict=True))
        done = set[str]()
        for name in set(node.input):
            self._unread[name] -= 1
            if not self._unread[name]:
                done.update((name, f"{name}{_SUBSTITUTE}"))
        for frame in self.frames:
            for name in done:
                frame.pop(name, None)

    def substitute(self, node: onnx.NodeProto, values: Mapping[str, Callable[[Tensor], Tensor]]) -> dict[str, str]:
        """Prepares other values for some of a node's inputs; returns the name that each input is held under.

        They stay until the last reader of the input has run, so that several readers share them.

        Args:
            node: The node; all that it reads must have been computed.
            values: What makes the other value out of the computed one, by input.
        """
        reads = {name: name for name in node.input if name}
        for name, change in values.items():
            reads[name] = f"{name}{_SUBSTITUTE}"
            for frame in self.frames:
                if reads[name] not in frame:
                    frame[reads[name]] = change(frame[name])
        return reads

    def evaluate(self, node: onnx.NodeProto, reads: Mapping[str, str]) -> list[list[Tensor]]:
        """Returns what a node computes for each frame, without keeping it; `reads` as `substitute` returns it."""
        live = [name for name in reads if name not in self._graph.weights]
        first = self.frames[0]
        inputs = [value_info(name, first[reads[name]]) for name in live]
        outputs = [name for name in node.output if name]
        model = self._graph.part([node], inputs, [onnx.ValueInfoProto(name=name) for name in outputs])
        session = make_session(model.SerializeToString(), threads=self._threads)
        return [run_session(session, outputs, {name: frame[reads[name]] for name in live}) for frame in self.frames]


def value_info(name: str, value: Tensor) -> onnx.ValueInfoProto:
    """Describes an input of a network that takes a value."""
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), list(value.shape))


@dataclass(frozen=True)
class Probe:
    """What one frame told about a network.

    Attributes:
        channels: Number of channels (axis 1) of each float activation with four axes.
        peak_bytes: Most memory that the activations of one frame take at a time.
    """

    channels: dict[str, int]
    peak_bytes: int


def probe(graph: Graph, feed: Mapping[str, Tensor], threads: int | None = None) -> Probe:
    """Runs a network node by node on one frame and looks at its activations."""
    runner = LayerwiseRunner(graph, [feed], threads)
    channels: dict[str, int] = {}
    peak = 0
    live = runner.frames[0]
    for node in (None, *graph.nodes):
        if node is not None:
            runner.run(node)
        peak = max(peak, sum(value.nbytes for value in live.values()))
        channels.update(
            {name: value.shape[1] for name, value in live.items() if value.ndim == 4 and value.dtype == np.float32}
        )
    return Probe(channels, peak)
