"""Who is to blame: each layer alone in 8 bits, and each of its quantizers alone, everything else in float."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from jetseg.manifest import Manifest
from jetseg.onnx.graph import Graph
from jetseg.onnx.layer_shape import LayerShape, layer_shape
from jetseg.onnx.layerwise import LayerwiseRunner, Tensor, value_info
from jetseg.onnx.session import make_session, run_session
from jetseg.postprocess import TaskMap, same_share, task_maps
from jetseg.progress import track
from jetseg.quantization.arithmetic import Arithmetic
from jetseg.quantization.qdq.kernels import is_product
from jetseg.quantization.qdq.placement import FUSED_ACTIVATIONS, SAME_RANGE, Placement, absorbed_output
from jetseg.quantization.ranges import TensorRange


@dataclass(frozen=True)
class QuantizerEffect:
    """What one quantizer does to one layer.

    Attributes:
        tensor: The activation or weight that it rounds.
        agreement: Pixels that keep the float network's class if nothing else is rounded, in percent.
        nodes: Nodes, by output, that all would have to be in float for nothing to be rounded here; none for what
            another layer writes as integers, whose quantizer it is.
    """

    tensor: str
    agreement: float
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True)
class LayerEffect:
    """What one layer in 8 bits does.

    Attributes:
        layer: The layer, by its output tensor: a convolution or a product, of two activations, too, where that is on
            integers; also an addition, a concatenation or another operator that reads or writes integers.
        agreement: Pixels that keep the float network's class, in percent.
        quantizers: Each of its quantizers alone: what it reads, its weights, and what it writes as integers.
        shape: What its latency depends on; None for what is no convolution.
        float_ms: Milliseconds that it takes longer in float than in 8 bits; None if that was not measured.
    """

    layer: str
    agreement: float
    quantizers: tuple[QuantizerEffect, ...] = ()
    shape: LayerShape | None = None
    float_ms: float | None = None


def layer_sensitivity(
    graph: Graph,
    manifest: Manifest,
    arithmetic: Arithmetic,
    placement: Placement,
    tensors: Mapping[str, TensorRange],
    feeds: Sequence[Mapping[str, Tensor]],
    threads: int | None = None,
) -> list[LayerEffect]:
    """Quantizes one layer at a time, what it reads and writes, and counts the pixels that change, in the worst task.

    What stands before a layer is computed once for all layers, what stands after it once per layer and quantizer.

    Args:
        graph: The float network.
        manifest: Its manifest.
        arithmetic: The backend's arithmetic.
        placement: Its quantizers; what is in float there is not looked at.
        tensors: Ranges by activation.
        feeds: Graph inputs, one mapping per frame; all are held in memory.
        threads: Threads of ONNX Runtime.

    Returns:
        The quantized layers, the worst first, and then other operators, likewise: what these write, layers read.
    """
    quantizers = arithmetic.quantizers(placement, tensors)
    wanted = [_decide(_Rest(graph, 0, threads), manifest, feed) for feed in feeds]
    graph = graph.copy()  # rounded weights stand in it for a while
    runner = LayerwiseRunner(graph, feeds, threads)

    def agreement(node: onnx.NodeProto, rest: _Rest, rounded: Sequence[str]) -> float:
        exact = {name: graph.weight(name) for name in rounded if name in graph.weights}
        for name, weight in exact.items():
            graph.set_weight(name, arithmetic.round_weight(weight, placement.weights[name]))
        reads = {name: quantizers[name] for name in rounded if name in node.input and name not in exact}
        writes = next((quantizers[name] for name in rounded if name not in node.input), None)
        outputs = runner.evaluate(node, reads)
        for name, weight in exact.items():
            graph.set_weight(name, weight)
        same = []
        for frame, values, classes in zip(runner.frames, outputs, wanted, strict=True):
            written = values if writes is None else [writes(values[0])]
            decided = _decide(rest, manifest, {**frame, **dict(zip(node.output, written, strict=True))})
            same.append(same_share(decided, classes))
        return round(100.0 * float(np.mean(same)), 3)

    effects = []
    rounding = _Rounding(graph, placement)
    for position, node in track(list(enumerate(graph.nodes)), "Looking for sensitive layers"):
        rounded = rounding.of(node)
        if rounded:
            rest = _Rest(graph, position + 1, threads)
            whole = agreement(node, rest, list(rounded))
            alone = [agreement(node, rest, [name]) for name in rounded] if len(rounded) > 1 else [whole]
            parts = tuple(map(QuantizerEffect, rounded, alone, rounded.values()))
            shape = layer_shape(graph, node, runner.frames[0])
            effects.append(LayerEffect(node.output[0], whole, parts, shape))
        runner.run(node)
    products = {node.output[0] for node in graph.nodes if is_product(graph, node)}
    return sorted(effects, key=lambda effect: (effect.layer not in products, effect.agreement))


class _Rounding:
    """What each node of a network rounds on integers, and which nodes must be in float for it not to be rounded."""

    def __init__(self, graph: Graph, placement: Placement) -> None:
        self._graph, self._placement = graph, placement
        self._readers: dict[str, list[str]] = defaultdict(list)
        for node in graph.nodes:
            if node.output[0] in placement.integer_nodes:
                for source in {placement.activations[name] for name in node.input if name in placement.activations}:
                    self._readers[source].append(node.output[0])

    def of(self, node: onnx.NodeProto) -> dict[str, tuple[str, ...]]:
        """Returns what a node reads or writes rounded, and its weights, each with the nodes that round it.

        What only carries integers on, or is absorbed by the layer before it, rounds nothing itself.
        """
        graph, placement, own = self._graph, self._placement, node.output[0]
        if own not in placement.integer_nodes or (placement.integer_outputs and _carries(graph, node)):
            return {}
        found: dict[str, tuple[str, ...]] = {}
        for name in dict.fromkeys(node.input):
            if placement.reads_rounded(graph, node, name):
                maker = graph.producer.get(placement.activations[name])
                found[name] = () if maker is not None and self._writes(maker) else (own,)
        if is_product(graph, node) and node.input[1] in placement.weights:
            found[node.input[1]] = (own,)
        if self._writes(node):
            written = absorbed_output(graph, node)
            found[written] = tuple(dict.fromkeys((own, *self._readers[written])))
        return found

    def _writes(self, node: onnx.NodeProto) -> bool:
        """Tells whether a node, or the activation that it absorbs, writes integers."""
        while _absorbed(self._graph, node):
            node = self._graph.producer[node.input[0]]
        written = absorbed_output(self._graph, node) in self._placement.activations
        return self._placement.writes_integers(node) and written


def _carries(graph: Graph, node: onnx.NodeProto) -> bool:
    return node.op_type in SAME_RANGE or _absorbed(graph, node)


def _absorbed(graph: Graph, node: onnx.NodeProto) -> bool:
    """Tells whether the layer before an activation does its work."""
    maker = graph.producer.get(node.input[0]) if node.op_type in FUSED_ACTIVATIONS else None
    return maker is not None and absorbed_output(graph, maker) == node.output[0]


class _Rest:
    """The part of a network from some node on."""

    def __init__(self, graph: Graph, position: int, threads: int | None) -> None:
        self.outputs = graph.outputs
        self._graph, self._nodes, self._threads = graph, graph.nodes[position:], threads
        self._made = {name for node in self._nodes for name in node.output}
        read = {name for node in self._nodes for name in node.input if name}
        self._reads = sorted(read - self._made - set(graph.weights))
        self._session = None

    def run(self, values: Mapping[str, Tensor], output: str) -> Tensor:
        """Returns an output of the network, given what the first part computed."""
        if output not in self._made:
            return values[output]
        feed = {name: values[name] for name in self._reads}
        if self._session is None:
            inputs = [value_info(name, value) for name, value in feed.items()]
            outputs = [value for value in self._graph.model.graph.output if value.name in self._made]
            model = self._graph.part(self._nodes, inputs, outputs)
            self._session = make_session(model.SerializeToString(), threads=self._threads)
        return run_session(self._session, [output], feed)[0]


def _decide(rest: _Rest, manifest: Manifest, values: Mapping[str, Tensor]) -> list[TaskMap]:
    outputs = [rest.run(values, output.name or rest.outputs[0]) for output in manifest.outputs]
    return list(task_maps(outputs, manifest).values())
