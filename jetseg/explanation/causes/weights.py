"""Layers whose weights differ, in a child that is otherwise its parent: each put back alone, and each changed alone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx

from jetseg.explanation.causes.ablation import channel_relevance, lost_of_most
from jetseg.explanation.causes.cause import Cause, Effects, explained_share
from jetseg.explanation.causes.trials import Outcome, Trials
from jetseg.onnx.graph import Graph
from jetseg.progress import track

_MOST_SHARE = 0.5
"""Share of the layers that may differ; a child of which more differs was trained otherwise, not damaged."""
_MOST_TRIED = 24
_LEAST_CHANGE = 1e-4
"""Relative change of weights that is worth a look; files differ by less through the order of sums alone."""


def differing_layers(parent: Graph, child: Graph) -> dict[int, float] | None:
    """Finds the nodes whose constants differ.

    Args:
        parent: The parent's graph.
        child: The child's.

    Returns:
        By position, how much the constants of each such node differ, relative to their size; None if the graphs are
        wired differently, or most of their layers differ.
    """
    if len(parent.nodes) != len(child.nodes):
        return None
    found, weighted = {}, 0
    for place, (own, other) in enumerate(zip(parent.nodes, child.nodes, strict=True)):
        pairs = list(zip(_constants(parent, own), _constants(child, other), strict=False))
        alike = own.op_type == other.op_type and len(own.input) == len(other.input)
        if not alike or any(first.shape != second.shape for first, second in pairs):
            return None
        floats = [pair for pair in pairs if pair[0].dtype.kind == "f" and pair[1].dtype.kind == "f"]
        weighted += bool(floats)
        changes = [float(np.linalg.norm(a - b)) / (float(np.linalg.norm(a)) or 1.0) for a, b in floats]
        if changes and max(changes) > _LEAST_CHANGE:
            found[place] = max(changes)
    return found if len(found) <= max(1, _MOST_SHARE * weighted) else None


def effects_of_weights(parent: Graph, child: Graph, trials: Trials) -> Effects | None:
    """Puts each differing layer of a child back to its parent's weights, and the other way round.

    Returns:
        What that does; None if the child is not its parent with some other weights.
    """
    differing = differing_layers(parent, child)
    if not differing:
        return None
    before, after = trials.run(parent.model), trials.run(child.model)
    places = sorted(differing, key=lambda place: -differing[place])[:_MOST_TRIED]
    causes = [_cause(parent, child, place, trials, (before, after)) for place in track(places, "Looking for causes")]
    causes.sort(key=lambda cause: -cause.share)
    return Effects(trials.subject, before.iou, after.iou, len(trials), tuple(causes))


def _cause(parent: Graph, child: Graph, place: int, trials: Trials, ends: tuple[Outcome, Outcome]) -> Cause:
    before, after = ends
    restored = trials.run(_with_constants(child, parent, place)).iou - after.iou
    changed = trials.run(_with_constants(parent, child, place))
    alone = before.iou - changed.iou
    lost = before.iou - after.iou
    node = child.nodes[place]
    gone, most = _gone_channels(parent, child, place, trials)
    return Cause(
        "channels" if gone else "weights",
        node.output[0],
        layer_title(child, node),
        share=explained_share(lost, restored, alone),
        restored=round(restored, 3),
        alone=round(alone, 3),
        agreement=round(changed.agreement(before), 3),
        channels=gone,
        most=most,
    )


def layer_title(graph: Graph, node: onnx.NodeProto) -> str:
    """Returns a layer's name for people: that of its weight where it tells the module, else its output tensor."""
    for name in node.input[1:]:
        stem, _, last = name.rpartition(".")
        if name in graph.constants and last == "weight" and stem and stem != node.output[0]:
            return str(stem.removeprefix("network."))
    return str(node.output[0])


def _gone_channels(parent: Graph, child: Graph, place: int, trials: Trials) -> tuple[tuple[int, ...], int]:
    """Returns the channels that are zero in the child only, of those that mattered most, and how many did."""
    own, other = (_constants(graph, graph.nodes[place]) for graph in (parent, child))
    if not own or own[0].ndim < 2:
        return (), 0
    empty = [np.abs(values[0]).reshape(len(values[0]), -1).max(axis=1) == 0 for values in (own, other)]
    gone = tuple(np.flatnonzero(empty[1] & ~empty[0]).tolist())
    relevance = channel_relevance(parent, parent.nodes[place].output[0], len(own[0]), trials) if gone else None
    return ((), 0) if relevance is None else lost_of_most(relevance, gone)


def _constants(graph: Graph, node: onnx.NodeProto) -> list[np.ndarray]:
    return [graph.weight(name) for name in node.input if name in graph.constants]


def _with_constants(graph: Graph, other: Graph, place: int) -> onnx.ModelProto:
    """Returns a copy of a network with the constants that another one has at a node; other readers keep their own."""
    changed = graph.copy()
    node, source = changed.nodes[place], other.nodes[place]
    fresh: Mapping[str, str] = {
        name: changed.add_initializer(changed.free_name(f"{name}.other"), other.weight(theirs))
        for name, theirs in zip(node.input, source.input, strict=True)
        if name in changed.constants and theirs in other.constants
    }
    changed.set_inputs(node, [fresh.get(name, name) for name in node.input])
    return changed.model
