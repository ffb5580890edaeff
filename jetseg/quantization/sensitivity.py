"""Who is to blame: each layer alone in 8 bits, and each of its quantizers alone, everything else in float."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from jetseg.manifest import Manifest
from jetseg.onnx.graph import Graph
from jetseg.onnx.layer_shape import LayerShape, layer_shape
from jetseg.onnx.layerwise import LayerwiseRunner, Tensor, value_info
from jetseg.onnx.session import make_session, run_session
from jetseg.postprocess import ClassMap, class_map
from jetseg.progress import track
from jetseg.quantization.arithmetic import Arithmetic
from jetseg.quantization.config import Policy
from jetseg.quantization.qdq.placement import is_matrix_layer
from jetseg.quantization.qdq.schemes import weight_scales
from jetseg.quantization.ranges import TensorRange


@dataclass(frozen=True)
class QuantizerEffect:
    """What one quantizer does to one layer.

    Attributes:
        tensor: The activation or weight that it rounds.
        agreement: Pixels that keep the float network's class if nothing else is rounded, in percent.
    """

    tensor: str
    agreement: float


@dataclass(frozen=True)
class LayerEffect:
    """What one layer in 8 bits does.

    Attributes:
        layer: The layer, by its output tensor; with placement "full" also an addition or a concatenation.
        agreement: Pixels that keep the float network's class, in percent.
        quantizers: Each of its quantizers alone.
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
    policy: Policy,
    tensors: Mapping[str, TensorRange],
    feeds: Sequence[Mapping[str, Tensor]],
    threads: int | None = None,
) -> list[LayerEffect]:
    """Quantizes one layer at a time, inputs and weights, and counts the pixels that change their class.

    What stands before a layer is computed once for all layers, what stands after it once per layer and quantizer.

    Args:
        graph: The float network.
        manifest: Its manifest.
        arithmetic: The backend's arithmetic.
        policy: Placement of the quantizers.
        tensors: Ranges by activation.
        feeds: Graph inputs, one mapping per frame; all are held in memory.
        threads: Threads of ONNX Runtime.

    Returns:
        The quantized layers, the worst first.
    """
    placement = arithmetic.place(graph, policy, tensors)
    quantizers = arithmetic.quantizers(placement, tensors)
    wanted = [_decide(_Rest(graph, 0, threads), manifest, feed) for feed in feeds]
    graph = graph.copy()  # rounded weights stand in it for a while
    runner = LayerwiseRunner(graph, feeds, threads)

    def agreement(node: onnx.NodeProto, rest: _Rest, rounded: Sequence[str]) -> float:
        exact = {name: graph.weight(name) for name in rounded if name in graph.weights}
        for name, weight in exact.items():
            graph.set_weight(name, _round_weight(weight, placement.weights[name], arithmetic.weight_limit))
        reads = runner.substitute(node, {name: quantizers[name] for name in rounded if name not in exact})
        outputs = runner.evaluate(node, reads)
        for name, weight in exact.items():
            graph.set_weight(name, weight)
        same = [
            np.mean(_decide(rest, manifest, {**frame, **dict(zip(node.output, values, strict=True))}) == classes)
            for frame, values, classes in zip(runner.frames, outputs, wanted, strict=True)
        ]
        return round(100.0 * float(np.mean(same)), 3)

    effects = []
    for position, node in track(list(enumerate(graph.nodes)), "Looking for sensitive layers"):
        layer = is_matrix_layer(graph, node) and node.output[0] in placement.integer_nodes
        rounded = [name for name in dict.fromkeys(node.input) if placement.reads_rounded(graph, node, name)]
        rounded += [node.input[1]] if layer else []
        if layer or (rounded and not placement.integer_outputs):
            rest = _Rest(graph, position + 1, threads)
            whole = agreement(node, rest, rounded)
            alone = [agreement(node, rest, [name]) for name in rounded] if len(rounded) > 1 else [whole]
            parts = tuple(map(QuantizerEffect, rounded, alone))
            shape = layer_shape(graph, node, runner.frames[0])
            effects.append(LayerEffect(node.output[0], whole, parts, shape))
        runner.run(node)
    return sorted(effects, key=lambda effect: effect.agreement)


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


def _decide(rest: _Rest, manifest: Manifest, values: Mapping[str, Tensor]) -> ClassMap:
    return class_map(rest.run(values, manifest.output.name or rest.outputs[0]), manifest)


def _round_weight(weight: Tensor, axis: int, limit: int) -> Tensor:
    """Returns a weight as its quantizer makes it, with a scale per output channel."""
    shape = [-1 if position == axis else 1 for position in range(weight.ndim)]
    scale = weight_scales(weight, axis, limit).reshape(shape)
    return np.asarray(np.round(weight / scale) * scale)
