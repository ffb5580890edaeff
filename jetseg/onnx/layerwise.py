"""Runs a graph node by node over several frames at once, so that each layer can be changed before it runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

from jetseg.onnx.channel_axes import channel_axes
from jetseg.onnx.graph import Graph
from jetseg.onnx.session import make_session, run_session

Tensor = npt.NDArray[Any]


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

    def values(self, name: str) -> list[Tensor]:
        """Returns a live activation of each frame."""
        return [frame[name] for frame in self.frames]

    def run(self, node: onnx.NodeProto) -> None:
        """Runs the next node on what was computed before and forgets what no later node reads."""
        self.advance(node, self.evaluate(node))

    def advance(self, node: onnx.NodeProto, outputs_by_frame: Iterable[Sequence[Tensor]]) -> None:
        """Takes over what `evaluate` gives for the next node and forgets what no later node reads, frame by frame."""
        outputs = [name for name in node.output if name]
        done = []
        for name in set(node.input):
            self._unread[name] -= 1
            if not self._unread[name]:
                done.append(name)
        for frame, values in zip(self.frames, outputs_by_frame, strict=True):
            frame.update(zip(outputs, values, strict=True))
            for name in done:
                frame.pop(name, None)

    def evaluate(
        self, node: onnx.NodeProto, changes: Mapping[str, Callable[[Tensor], Tensor]] | None = None
    ) -> Iterator[list[Tensor]]:
        """Returns what a node computes, frame by frame as it is asked for, with its weights as they are now.

        Args:
            node: The node; all that it reads must have been computed.
            changes: What makes another value out of the computed one, by input.
        """
        changes = changes or {}
        live = [name for name in dict.fromkeys(node.input) if name and name not in self._graph.weights]
        inputs = [value_info(name, self.frames[0][name]) for name in live]
        outputs = [name for name in node.output if name]
        model = self._graph.part([node], inputs, [onnx.ValueInfoProto(name=name) for name in outputs])
        session = make_session(model.SerializeToString(), threads=self._threads, arena=False)

        def values(frame: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: changes[name](frame[name]) if name in changes else frame[name] for name in live}

        return (run_session(session, outputs, values(frame)) for frame in self.frames)


def value_info(name: str, value: Tensor) -> onnx.ValueInfoProto:
    """Describes an input of a network that takes a value."""
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), list(value.shape))


@dataclass(frozen=True)
class Probe:
    """What one frame told about a network.

    Attributes:
        channels: Number of channels of each float activation whose axis of channels is known.
        peak_bytes: Most memory that the activations of one frame take at a time.
    """

    channels: dict[str, int]
    peak_bytes: int


def probe(graph: Graph, feed: Mapping[str, Tensor], threads: int | None = None) -> Probe:
    """Runs a network node by node on one frame and looks at its activations."""
    runner = LayerwiseRunner(graph, [feed], threads)
    channels: dict[str, int] = {}
    axes = channel_axes(graph)
    peak = 0
    live = runner.frames[0]
    for node in (None, *graph.nodes):
        if node is not None:
            runner.run(node)
        peak = max(peak, sum(value.nbytes for value in live.values()))
        channels.update(
            {
                name: value.shape[axes[name]]
                for name, value in live.items()
                if name in axes and value.dtype == np.float32
            }
        )
    return Probe(channels, peak)
