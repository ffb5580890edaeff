"""Runs a graph node by node over several frames at once, so that each layer can be changed before it runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

from jetseg.calibrate.graph import FloatGraph
from jetseg.ort import make_session, run_session

Tensor = npt.NDArray[Any]


class Stepper:
    """Holds the live activations of some frames and runs one node at a time on them.

    Args:
        graph: The network; its weights are read when a node runs, so they may be changed until then.
        feeds: Graph inputs, one mapping per frame.
        threads: Threads of ONNX Runtime.
    """

    def __init__(self, graph: FloatGraph, feeds: Sequence[Mapping[str, Tensor]], threads: int | None = None) -> None:
        self._graph = graph
        self._threads = threads
        self.frames: list[dict[str, Tensor]] = [dict(feed) for feed in feeds]
        self._unread = Counter(name for node in graph.model.graph.node for name in set(node.input))

    def run(self, node: onnx.NodeProto, reads: Mapping[str, str] | None = None) -> None:
        """Runs the next node and forgets what no later node reads.

        Args:
            node: The node; all that it reads must have been computed.
            reads: What to use for the node's inputs, as `substitute` returns it.
        """
        reads = reads or {name: name for name in node.input if name}
        outputs = [name for name in node.output if name]
        for frame, values in zip(self.frames, self.evaluate(node, reads), strict=True):
            frame.update(zip(outputs, values, strict=True))
        done = {held for name, held in reads.items() if held != name}
        for name in set(node.input):
            self._unread[name] -= 1
            if not self._unread[name]:
                done.add(name)
        for frame in self.frames:
            for name in done:
                frame.pop(name, None)

    def substitute(self, node: onnx.NodeProto, values: Iterable[tuple[str, list[Tensor]]]) -> dict[str, str]:
        """Holds other values for some of a node's inputs until the node has run; returns what it reads."""
        reads = {name: name for name in node.input if name}
        for name, by_frame in values:
            reads[name] = f"{name}.substitute"
            for frame, value in zip(self.frames, by_frame, strict=True):
                frame[reads[name]] = value
        return reads

    def evaluate(self, node: onnx.NodeProto, reads: Mapping[str, str]) -> list[list[Tensor]]:
        """Returns what a node computes for each frame, without keeping it; `reads` as for `run`."""
        constants = [self._graph.weights[name] for name in reads if name in self._graph.weights]
        live = [name for name in reads if name not in self._graph.weights]
        first = self.frames[0]
        model = helper.make_model(
            helper.make_graph(
                [node],
                "step",
                [_port(name, first[reads[name]]) for name in live],
                [onnx.ValueInfoProto(name=name) for name in node.output if name],
                constants,
            ),
            opset_imports=self._graph.model.opset_import,
            ir_version=self._graph.model.ir_version,
        )
        session = make_session(model.SerializeToString(), threads=self._threads)
        outputs = [name for name in node.output if name]
        return [run_session(session, outputs, {name: frame[reads[name]] for name in live}) for frame in self.frames]


def _port(name: str, value: Tensor) -> onnx.ValueInfoProto:
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


def probe(graph: FloatGraph, feed: Mapping[str, Tensor], threads: int | None = None) -> Probe:
    """Runs a network node by node on one frame and looks at its activations."""
    stepper = Stepper(graph, [feed], threads)
    channels: dict[str, int] = {}
    peak = 0
    live = stepper.frames[0]
    for node in (None, *graph.model.graph.node):
        if node is not None:
            stepper.run(node)
        peak = max(peak, sum(value.nbytes for value in live.values()))
        channels.update(
            {name: value.shape[1] for name, value in live.items() if value.ndim == 4 and value.dtype == np.float32}
        )
    return Probe(channels, peak)
