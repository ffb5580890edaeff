"""What frames tell, without labels, about how right their class maps are: the raw material of the live estimate."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from jetseg.evaluation.signals import Vector
from jetseg.postprocess import ClassMap, resize_class_map

_MAP_HEIGHT, _MAP_WIDTH = 90, 120
_DOUBTFUL = 0.7
"""Probability of the winning class below which a pixel counts as doubtful."""


@dataclass(frozen=True)
class Evidence:
    """Sums over the pixels of one frame or of several; everything but the counts of frames adds up.

    Attributes:
        frames: How many frames.
        pixels: Share of the pixels that each class was given, void last; sums to `frames`.
        edges: Share of the pixels that have a neighbor of another class, likewise by class.
        sure: Per class, the summed probability of the pixels that it was given: its expected hits, as shares.
        mass: Per class, its summed probability over all pixels: its expected labels. None, as `sure` and `doubtful`,
            where there are no scores.
        doubtful: Per class, the share of the pixels that it was given with a probability below 0.7.
    """

    frames: int
    pixels: Vector
    edges: Vector
    sure: Vector | None = None
    mass: Vector | None = None
    doubtful: Vector | None = None

    def without_scores(self) -> Evidence:
        """Returns what is left where only class maps count."""
        return replace(self, sure=None, mass=None, doubtful=None)


def frame_evidence(
    class_map_hw_u8: ClassMap, scores: npt.NDArray[Any] | None, classes: int, temperature: float = 1.0
) -> Evidence:
    """Measures one frame.

    Args:
        class_map_hw_u8: The network's answer, any size.
        scores: Logits on a grid of pixels, channels x pixels; None where there are none.
        classes: Scored classes; ids and channels beyond them are void.
        temperature: What the scores are divided by.
    """
    pixels, edges = _shares_and_edges(class_map_hw_u8, classes)
    if scores is None:
        return Evidence(1, pixels, edges)
    return Evidence(1, pixels, edges, *_confidence(scores, classes, temperature))


def evidence_map(class_map_hw_u8: ClassMap) -> ClassMap:
    """Returns the small class map that is all that evidence needs of one; of a small one, itself."""
    return resize_class_map(class_map_hw_u8, _MAP_HEIGHT, _MAP_WIDTH)


def joined(parts: Iterable[Evidence]) -> Evidence:
    """Sums the evidence of several frames, one at least; all of the same network."""
    found = list(parts)

    def total(name: str) -> Any:  # noqa: ANN401 - a vector, or None where there are no scores
        values = [getattr(part, name) for part in found]
        return None if values[0] is None else np.sum(values, axis=0)

    names = ("pixels", "edges", "sure", "mass", "doubtful")
    return Evidence(sum(part.frames for part in found), **{name: total(name) for name in names})


def _shares_and_edges(class_map_hw_u8: ClassMap, classes: int) -> tuple[Vector, Vector]:
    ids = evidence_map(class_map_hw_u8)
    edge = np.zeros(ids.shape, dtype=bool)
    edge[:, 1:] = ids[:, 1:] != ids[:, :-1]
    edge[1:] |= ids[1:] != ids[:-1]
    every, some = (np.bincount(found, minlength=classes + 1)[: classes + 1] for found in (ids.ravel(), ids[edge]))
    return every / ids.size, some / ids.size


def _confidence(scores: npt.NDArray[Any], classes: int, temperature: float) -> tuple[Vector, Vector, Vector]:
    """Returns expected hits, expected labels and doubtful pixels of each class, void last, as shares of the pixels."""
    scaled = np.asarray(scores, dtype=np.float32) * np.float32(1 / temperature)
    weights = cv2.exp(scaled - scaled.max(axis=0))
    probabilities = weights / weights.sum(axis=0)
    ids = np.minimum(probabilities.argmax(axis=0), classes)
    best = probabilities.max(axis=0)
    count = probabilities.shape[1]
    by_channel = probabilities.sum(axis=1, dtype=np.float64) / count
    mass = np.append(by_channel[:classes], by_channel[classes:].sum())
    sure = np.bincount(ids, weights=best, minlength=classes + 1) / count
    doubtful = np.bincount(ids[best < _DOUBTFUL], minlength=classes + 1) / count
    return sure, mass, doubtful
