"""Layers of a quantized child: each alone back in float, and each alone in fewer bits."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt
import onnx

from jetseg.evaluation.fewest import fewest
from jetseg.explanation.causes.cause import Cause, Effects, explained_share
from jetseg.explanation.causes.trials import Outcome, Trials
from jetseg.explanation.causes.weights import layer_title
from jetseg.onnx.graph import Graph
from jetseg.onnx.node import attribute_int
from jetseg.onnx.quantizers import DEQUANTIZE, QUANTIZE, before_quantizers
from jetseg.progress import track
from jetseg.quantization.qdq.placement import FUSED_ACTIVATIONS, SAME_RANGE

_HALF_STEP = 0.51
"""Part of a step by which rounding moves a weight; one that is farther from the parent's was corrected."""

_MOST_TRIED = 16
"""So many of the layers that bring most back are also quantized alone."""


class QuantizedGraph:
    """A network with explicit quantizers, whose layers can be put back to float.

    Args:
        graph: The quantized child.
        parent: The float parent, whose weights a layer gets back where the child's are these, rounded.
    """

    def __init__(self, graph: Graph, parent: Graph) -> None:
        self.graph, self.parent = graph, parent
        self.layers = tuple(
            node.output[0]
            for node in graph.nodes
            if node.op_type not in (QUANTIZE, DEQUANTIZE)
            and any(self._is_dequantized(name) for name in node.input)
            and any(before_quantizers(graph, name) != name for name in node.input)
        )

    def with_float(self, layers: Collection[str]) -> onnx.ModelProto:
        """Returns the network with some layers, by output, that read unrounded values."""
        changed = self.graph.copy()
        for node in changed.nodes:
            if node.output and node.output[0] in layers:
                names = [self._exact(changed, node, place, name) for place, name in enumerate(node.input)]
                changed.set_inputs(node, names)
        return changed.model

    @property
    def is_of_parent(self) -> bool:
        """Whether the parent is the same network in float: the same operators make the same tensors."""
        makers = (self.graph.producer[layer] for layer in self.layers)
        alike = (self.parent.producer.get(node.output[0]) for node in makers)
        types = [node is not None and node.op_type == self.graph.producer[node.output[0]].op_type for node in alike]
        return all(types) and not any(node.op_type == QUANTIZE for node in self.parent.nodes)

    def writers(self, layer: str) -> tuple[str, ...]:
        """Returns the nodes, by output, that must write float for a layer to read unrounded values in an engine.

        A backend whose layers write integers rounds what they write, whoever reads it.
        """
        found: list[str] = []
        for name in self.graph.producer[layer].input:
            source = before_quantizers(self.graph, name)
            producer = self.graph.producer.get(source) if source != name else None
            while producer is not None and producer.op_type != QUANTIZE:
                found.append(producer.output[0])
                if producer.op_type not in SAME_RANGE | FUSED_ACTIVATIONS:
                    break
                producer = self.graph.producer.get(before_quantizers(self.graph, producer.input[0]))
        return tuple(found)

    def title(self, layer: str) -> str:
        """Returns a layer's name for people."""
        node = self.parent.producer.get(layer)
        return layer if node is None else layer_title(self.parent, node)

    def _is_dequantized(self, name: str) -> bool:
        node = self.graph.producer.get(name)
        return node is not None and node.op_type == DEQUANTIZE

    def _exact(self, changed: Graph, node: onnx.NodeProto, place: int, name: str) -> str:
        """Returns what an input of a node reads without its quantizer."""
        if not self._is_dequantized(name):
            return name
        dequantizer = changed.producer[name]
        source = before_quantizers(changed, name)
        if source in changed.constants:
            original = self._original_weight(node, place, dequantizer)
            return name if original is None else changed.add_initializer(changed.free_name(f"{name}.exact"), original)
        return source

    def _original_weight(
        self, node: onnx.NodeProto, place: int, dequantizer: onnx.NodeProto
    ) -> npt.NDArray[np.float32] | None:
        """Returns the parent's weight if the child's is this one, rounded."""
        own = self.parent.producer.get(node.output[0])
        if own is None or own.op_type != node.op_type or place >= len(own.input):
            return None
        if own.input[place] not in self.parent.constants:
            return None
        exact = self.parent.weight(own.input[place])
        numbers, scale = (self.graph.weight(name).astype(np.float64) for name in dequantizer.input[:2])
        zero = self.graph.weight(dequantizer.input[2]).astype(np.float64) if len(dequantizer.input) > 2 else 0.0
        if exact.shape != numbers.shape:
            return None
        if scale.ndim:
            axis = attribute_int(dequantizer, "axis", 1) % numbers.ndim
            shape = [-1 if k == axis else 1 for k in range(numbers.ndim)]
            scale = scale.reshape(shape)
            zero = np.broadcast_to(zero, scale.shape) if np.ndim(zero) == 0 else np.reshape(zero, shape)
        rounded = (numbers - zero) * scale
        return exact if bool((np.abs(rounded - exact) <= _HALF_STEP * scale + 1e-12).all()) else None


def effects_of_quantizers(parent: Graph, child: Graph, trials: Trials) -> Effects | None:
    """Puts each quantized layer of a child back to float, and quantizes the worst ones alone.

    Returns:
        What that does to the class, the worst layer first; None if the child has no quantizers that can be read.
    """
    quantized = QuantizedGraph(child, parent)
    if not quantized.layers or not quantized.is_of_parent:
        return None
    before, after = trials.run(parent.model), trials.run(child.model)
    exact = trials.run(quantized.with_float(quantized.layers))
    restored = {
        layer: trials.run(quantized.with_float({layer})).iou - after.iou
        for layer in track(quantized.layers, "Putting layers back to float")
    }
    worst = sorted(restored, key=lambda layer: -restored[layer])[:_MOST_TRIED]
    lost = before.iou - after.iou
    causes = [
        _cause(quantized, layer, trials, restored[layer], exact, lost)
        for layer in track(worst, "Quantizing single layers")
    ]
    causes.sort(key=lambda cause: (-cause.share, -(cause.restored or 0.0)))
    return Effects(trials.subject, before.iou, after.iou, len(trials), tuple(causes))


def _cause(
    quantized: QuantizedGraph, layer: str, trials: Trials, restored: float, exact: Outcome, lost: float
) -> Cause:
    single = trials.run(quantized.with_float(set(quantized.layers) - {layer}))
    alone = exact.iou - single.iou
    return Cause(
        "quantizers",
        layer,
        quantized.title(layer),
        share=explained_share(lost, restored, alone),
        restored=round(restored, 3),
        alone=round(alone, 3),
        agreement=round(single.agreement(exact), 3),
    )


def least_repair(
    parent: Graph, child: Graph, trials: Trials, effects: Effects, wanted: float, *, writes_integers: bool
) -> tuple[tuple[str, ...], float]:
    """Finds the fewest layers that, in float together, bring back a share of the loss.

    Args:
        parent: The float parent.
        child: The quantized child.
        trials: Frames to judge by.
        effects: What each layer does; the worst go first.
        wanted: Share of the loss that must come back.
        writes_integers: Whether layers on integers write integers, so that what writes for a layer must be in float,
            too.

    Returns:
        The layers by output, each followed by what writes for it, and the points that come back. What a correction
        added to the child is not among them: the parent, from which it is built anew, lacks it.
    """
    quantized = QuantizedGraph(child, parent)
    order = sorted(effects.causes, key=lambda cause: -((cause.restored or 0.0) + (cause.alone or 0.0)))

    def chosen(count: int) -> tuple[str, ...]:
        names = [cause.layer for cause in order[:count]]
        joined = [(name, *(quantized.writers(name) if writes_integers else ())) for name in names]
        return tuple(dict.fromkeys(name for group in joined for name in group if name in parent.producer))

    def gain(count: int) -> float:
        return trials.run(quantized.with_float(chosen(count))).iou - effects.child

    count, won = fewest(len(order), wanted * (effects.parent - effects.child), gain)
    return chosen(count), won
