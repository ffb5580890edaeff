"""Where the features of a child that was trained anew leave those of its parent.

Similarity is linear centered kernel alignment (Kornblith et al., arXiv:1905.00414) over places in pictures: 1 if one
network's features are the other's, turned and scaled, 0 if they have nothing in common.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import onnx

from jetseg.explanation.causes.cause import Cause, Effects
from jetseg.explanation.causes.trials import Trials
from jetseg.explanation.causes.weights import layer_title
from jetseg.onnx.graph import Graph

_STAGES = 12
"""Layers of each network that are compared, spread evenly over its depth."""
_GRID = (12, 16)
"""Rows and columns of the places that are looked at in each frame."""
_LAYERS = frozenset({"Conv", "ConvTranspose", "MatMul", "Gemm"})

Features = npt.NDArray[np.float64]


def effects_of_features(parent: Graph, child: Graph, trials: Trials) -> Effects | None:
    """Finds the first stage of the parent whose features the child does not have.

    Returns:
        One cause per stage of the parent, that from which on the child's features differ first; none is proven. None if
        the features cannot be compared.
    """
    stages = _stages(parent, trials)
    others = [features for _, features in _stages(child, trials)]
    if len(stages) < 2 or not others:
        return None
    alike = [max(similarity(features, other) for other in others) for _, features in stages]
    causes = [
        Cause("features", node.output[0], layer_title(parent, node), similarity=round(value, 4))
        for (node, _), value in zip(stages, alike, strict=True)
    ]
    drops = [before - after for before, after in pairwise(alike)]
    first = 1 + int(np.argmax(drops))
    before, after = trials.run(parent.model), trials.run(child.model)
    ordered = (causes[first], *causes[:first], *causes[first + 1 :])
    return Effects(trials.subject, before.iou, after.iou, len(trials), ordered)


def similarity(first: Features, second: Features) -> float:
    """Returns the linear centered kernel alignment of two sets of features.

    Args:
        first: Observations x channels.
        second: The same observations x other channels.

    >>> draw = np.random.default_rng(0)
    >>> features = draw.normal(size=(100, 4))
    >>> turned = np.linalg.qr(draw.normal(size=(4, 4)))[0]
    >>> round(similarity(features, 3 * features @ turned + 1), 6)
    1.0
    """
    first, second = first - first.mean(axis=0), second - second.mean(axis=0)
    shared = float((np.abs(first.T @ second) ** 2).sum())
    own, other = (float(np.linalg.norm(features.T @ features)) for features in (first, second))
    return shared / (own * other) if own and other else 0.0


def _stages(graph: Graph, trials: Trials) -> list[tuple[onnx.NodeProto, Features]]:
    """Returns some layers in their order, with what they compute on the frames: places x channels."""
    layers = [node for node in graph.nodes if node.op_type in _LAYERS]
    count = min(_STAGES, len(layers))
    chosen = [layers[place * len(layers) // count] for place in range(count)]
    watched = graph.copy()
    known = set(watched.outputs)
    for node in chosen:
        if node.output[0] not in known:
            watched.model.graph.output.append(onnx.ValueInfoProto(name=node.output[0]))
    values = trials.watch(watched.model, [node.output[0] for node in chosen])
    return [
        (node, np.concatenate([_at_places(value) for value in found]))
        for node, found in zip(chosen, values, strict=True)
        if found[0].ndim == 4
    ]


def _at_places(value: npt.NDArray[np.generic]) -> Features:
    """Takes what a layer computes at some places of a frame: places x channels."""
    height, width = value.shape[2:]
    rows = (np.arange(_GRID[0]) * 2 + 1) * height // (2 * _GRID[0])
    columns = (np.arange(_GRID[1]) * 2 + 1) * width // (2 * _GRID[1])
    chosen = value[0][:, rows][:, :, columns].astype(np.float64)
    return np.asarray(chosen.reshape(value.shape[1], -1).T)
