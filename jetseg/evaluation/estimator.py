"""Estimates how right class maps are, without labels, and within which bounds.

What a window of frames tells (`Evidence`) becomes a few figures, and a straight line over them the odds of the mIoU,
and of each class's IoU. The bounds are those of split conformal prediction, as log odds, in units of what the spread of
a regression's prediction is there (Lei et al. 2018, section 5.2): they grow with the distance from what the lines were
fitted to, and shrink towards 0 and 100 %.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jetseg.errors import ManifestError
from jetseg.evaluation.evidence import Evidence
from jetseg.evaluation.profile import Mahalanobis
from jetseg.evaluation.signals import Vector
from jetseg.measured import Estimator, LinearModel

LEAST_SHARE = 1e-4
"""Of the pixels, from which a class counts as seen."""
_LEAST_ODDS = 5e-3
"""Shares are kept this far from 0 and 1, where the logarithm of odds is endless."""
SURE = ("overlap", "confidence", "doubtful")
"""Figures of a window that need probabilities."""
PLAIN = ("edges", "variety")


@dataclass(frozen=True)
class Interval:
    """An estimate in percent, and what the true value lies between in nine of ten windows like those at build."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Estimate:
    """How right the class maps of some frames are.

    Attributes:
        frames: How many frames.
        distance: How far their figures are from those that the estimator knows, in standard deviations: Mahalanobis.
        miou: Estimated mIoU, in percent.
        per_class_iou: Likewise for each class; None for one that is not there.
    """

    frames: int
    distance: float
    miou: Interval
    per_class_iou: dict[str, Interval | None]


class EstimatingModel:
    """Turns evidence into estimates.

    Args:
        estimator: From the manifest.
        classes: The network's.

    Attributes:
        needs_scores: Whether it goes by probabilities, and not by class maps alone.

    Raises:
        ManifestError: Its numbers do not fit together, or not to the classes.
    """

    def __init__(self, estimator: Estimator, classes: tuple[str, ...]) -> None:
        self.needs_scores = len(estimator.miou.slopes) > len(PLAIN)
        self._estimator = estimator
        self._classes = classes
        self._check()
        self._distance = Mahalanobis(estimator.normal)

    def _check(self) -> None:
        known, normal = self._estimator, self._estimator.normal
        wide, of_class = (5, 5) if self.needs_scores else (2, 3)
        correlation = np.array([row[:wide] for row in normal.correlation if len(row) == wide])
        sound = (
            len(known.miou.slopes) == wide
            and all(len(model.slopes) == of_class for model in known.classes.values())
            and set(known.classes) == set(known.class_error) <= set(self._classes)
            and len(normal.mean) == len(normal.std) == wide
            and correlation.shape == (wide, wide)
            and np.linalg.eigvalsh(correlation).min() > 0
        )
        if not sound:
            raise ManifestError(
                "The manifest's estimator is not one for these classes: its numbers do not fit together.",
                "Copy the manifest again, or build the engine anew.",
            )

    def estimate(self, evidence: Evidence) -> Estimate:
        """Estimates a window of frames."""
        known, figures = self._estimator, window_figures(evidence)
        distance = self._distance(figures)
        factor = widening(distance, known.windows)
        odds = line(known.miou, figures)
        per_class: dict[str, Interval | None] = dict.fromkeys(self._classes)
        for index, name in enumerate(self._classes):
            if name in known.classes and is_seen(evidence, index):
                found = line(known.classes[name], class_figures(evidence, index, odds))
                per_class[name] = _interval(found, factor * known.class_error[name])
        return Estimate(evidence.frames, distance, _interval(odds, factor * known.miou_error), per_class)


def window_figures(evidence: Evidence) -> Vector:
    """Returns the figures of a window: SURE, where there are probabilities, and PLAIN."""
    edges = float(evidence.edges.sum()) / evidence.frames
    shares = evidence.pixels / evidence.pixels.sum()
    variety = float(-(shares * np.log(np.maximum(shares, 1e-12))).sum()) / np.log(max(2, len(shares)))
    plain = [log_odds(edges), variety]
    if evidence.sure is None or evidence.doubtful is None:
        return np.array(plain)
    overlaps = expected_overlaps(evidence)
    confidence = float(evidence.sure.sum()) / evidence.frames
    doubtful = float(evidence.doubtful.sum()) / evidence.frames
    overlap = float(np.mean(overlaps)) if overlaps else 0.0
    return np.array([log_odds(overlap), log_odds(confidence), log_odds(doubtful), *plain])


def expected_overlaps(evidence: Evidence) -> list[float]:
    """Returns the IoU of each class that is there, as its probabilities have it; empty without any."""
    if evidence.sure is None:
        return []
    classes = range(len(evidence.pixels) - 1)
    return [_overlap(evidence, index) for index in classes if is_seen(evidence, index)]


def class_figures(evidence: Evidence, index: int, miou_odds: float) -> Vector:
    """Returns the figures of one class in a window."""
    share = float(evidence.pixels[index]) / evidence.frames
    edges = float(evidence.edges[index]) / max(float(evidence.pixels[index]), 1e-9)
    plain = [log_odds(edges), np.log(share + LEAST_SHARE), miou_odds]
    if evidence.sure is None:
        return np.array(plain)
    confidence = float(evidence.sure[index]) / max(float(evidence.pixels[index]), 1e-9)
    return np.array([log_odds(_overlap(evidence, index)), log_odds(confidence), *plain])


def is_seen(evidence: Evidence, index: int) -> bool:
    """Tells whether a window holds a class, by the network's own answers."""
    share = float(evidence.pixels[index]) / evidence.frames
    mass = 0.0 if evidence.mass is None else float(evidence.mass[index]) / evidence.frames
    return max(share, mass) >= LEAST_SHARE


def line(model: LinearModel, figures: Vector) -> float:
    """Returns the logarithm of odds that a line gives."""
    return model.intercept + float(np.dot(model.slopes, figures))


def log_odds(share: float) -> float:
    """Returns the logarithm of the odds of a share.

    >>> log_odds(0.5), round(log_odds(0.9), 3)
    (0.0, 2.197)
    """
    inside = min(max(share, _LEAST_ODDS), 1 - _LEAST_ODDS)
    return float(np.log(inside / (1 - inside)))


def percent(odds: float) -> float:
    """Returns a share in percent by the logarithm of its odds.

    >>> percent(0.0)
    50.0
    """
    return float(100 / (1 + np.exp(-odds)))


def widening(distance: float, windows: int) -> float:
    """Returns how many times as wide an interval is at some distance from so many windows, as in linear regression.

    >>> round(widening(0.0, 10**9), 2), round(widening(7.0, 50), 2)
    (1.0, 1.41)
    """
    return float(np.sqrt(1 + (1 + distance**2) / windows))


def _interval(odds: float, error: float) -> Interval:
    return Interval(*(percent(value) for value in (odds, odds - error, odds + error)))


def _overlap(evidence: Evidence, index: int) -> float:
    """Returns the IoU of a class that probabilities would mean if they came true."""
    if evidence.sure is None or evidence.mass is None:
        return 0.0
    hits = float(evidence.sure[index])
    union = float(evidence.pixels[index] + evidence.mass[index]) - hits
    return hits / union if union > 0 else 0.0
