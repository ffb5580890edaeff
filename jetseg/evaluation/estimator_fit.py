"""Learns from labelled windows of frames, clean and corrupted, how to estimate accuracy without labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Literal

import numpy as np
import numpy.typing as npt

from jetseg.evaluation.confusion import Score
from jetseg.evaluation.estimator import (
    class_figures,
    is_seen,
    line,
    log_odds,
    percent,
    widening,
    window_figures,
)
from jetseg.evaluation.evidence import Evidence
from jetseg.evaluation.profile import Mahalanobis, fit_normal
from jetseg.evaluation.signals import Vector
from jetseg.measured import Estimator, LinearModel

COVERAGE = 0.9
_STRENGTHS = (0.3, 1.0, 3.0, 10.0, 30.0)
"""Of the ridge: the one whose lines are off least on corruptions that they were not fitted to is taken."""
Fold = tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]
"""Which windows are left out, and which others are fitted to."""
_LEAST_WINDOWS = 12
"""Of one class, for a line of its own; from two runs, so that one can be left out."""


@dataclass(frozen=True)
class KnownWindow:
    """Some frames of which the truth is known.

    Attributes:
        kind: Of the corruption, or "clean".
        run: Which frames: windows of equal number show the same scenes.
        evidence: What they tell without labels.
        score: How right they are.
    """

    kind: str
    run: int
    evidence: Evidence
    score: Score


def fit_estimator(
    windows: Sequence[KnownWindow],
    classes: Sequence[str],
    *,
    data: str,
    split: str,
    target: Literal["labels", "agreement"],
    temperature: float,
) -> Estimator:
    """Fits the lines, and learns how far they are off on corruptions and scenes that were both left out.

    Args:
        windows: Of several kinds and runs, of equally many frames.
        classes: The network's.
        data: Kind of the dataset.
        split: Its split.
        target: What the truth is.
        temperature: With which the evidence was measured.
    """
    folds = _folds(windows)
    figures = np.array([window_figures(window.evidence) for window in windows])
    mious = np.array([window.score.miou for window in windows], dtype=np.float64)
    factors = _factors(figures, folds)
    miou, guesses = _fit_line(figures, mious, folds)
    lines, class_errors = {}, {}
    for index, name in enumerate(classes):
        there = np.array(
            [window.score.per_class_iou[name] is not None and is_seen(window.evidence, index) for window in windows]
        )
        if there.sum() < _LEAST_WINDOWS or len({window.run for window in compress(windows, there)}) < 2:
            continue
        found = [class_figures(window.evidence, index, odds) for window, odds in zip(windows, guesses, strict=True)]
        truth = np.array([window.score.per_class_iou[name] or 0.0 for window in windows])
        lines[name], of_class = _fit_line(
            np.array(found), truth, [(own & there, others & there) for own, others in folds]
        )
        class_errors[name] = _bound((np.abs(of_class - _odds(truth)) / factors)[there])
    return Estimator(
        data=data,
        split=split,
        target=target,
        window=windows[0].evidence.frames,
        windows=len(windows),
        temperature=round(temperature, 4),
        normal=fit_normal(figures),
        miou=miou,
        classes=lines,
        miou_error=_bound(np.abs(guesses - _odds(mious)) / factors),
        class_error=class_errors,
        mean_error=round(float(np.abs(_percents(guesses) - mious).mean()), 2),
    )


def _folds(windows: Sequence[KnownWindow]) -> list[Fold]:
    """Pairs the windows of each kind and run with those of other kinds and other runs, as masks."""
    kinds, runs = np.array([window.kind for window in windows]), np.array([window.run for window in windows])
    pairs = dict.fromkeys((window.kind, window.run) for window in windows)
    return [((kinds == kind) & (runs == run), (kinds != kind) & (runs != run)) for kind, run in pairs]


def _factors(figures: Vector, folds: Sequence[Fold]) -> Vector:
    """Returns how many times as wide each window's interval is where it is left out."""
    found = np.ones(len(figures))
    for own, others in folds:
        if others.any():
            distance = Mahalanobis(fit_normal(figures[others]))
            found[own] = [widening(distance(row), int(others.sum())) for row in figures[own]]
    return found


def _fit_line(figures: Vector, percents: Vector, folds: Sequence[Fold]) -> tuple[LinearModel, Vector]:
    """Returns a line, and what lines that saw neither its kind nor its scenes say of each window, as log odds."""
    used = np.any([own for own, _ in folds], axis=0)
    guesses = {strength: _left_out(figures, percents, folds, strength) for strength in _STRENGTHS}
    best = min(_STRENGTHS, key=lambda strength: float(np.abs(_percents(guesses[strength]) - percents)[used].mean()))
    return _ridge(figures[used], percents[used], best), guesses[best]


def _left_out(figures: Vector, percents: Vector, folds: Sequence[Fold], strength: float) -> Vector:
    found = np.full(len(figures), log_odds(percents.mean() / 100))  # where nothing else is known
    for own, others in folds:
        if others.any():
            fitted = _ridge(figures[others], percents[others], strength)
            found[own] = [line(fitted, row) for row in figures[own]]
    return found


def _ridge(figures: Vector, percents: Vector, strength: float) -> LinearModel:
    """Fits the logarithm of odds; the slopes of standardized figures are kept small."""
    wanted = _odds(percents)
    mean, deviation = figures.mean(axis=0), np.maximum(figures.std(axis=0), 1e-3)
    scaled = (figures - mean) / deviation
    left = scaled.T @ scaled + strength * np.eye(scaled.shape[1])
    slopes = np.linalg.solve(left, scaled.T @ (wanted - wanted.mean())) / deviation
    return LinearModel(
        intercept=round(float(wanted.mean() - slopes @ mean), 5),
        slopes=tuple(round(float(slope), 5) for slope in slopes),
    )


def _odds(percents: Vector) -> Vector:
    return np.array([log_odds(value / 100) for value in percents])


def _percents(odds: Vector) -> Vector:
    return np.array([percent(value) for value in odds])


def _bound(errors: Vector) -> float:
    """Returns what the next error stays within with the wanted probability, if it is drawn like these."""
    rank = min(len(errors), math.ceil((len(errors) + 1) * COVERAGE))
    return round(float(np.sort(errors)[rank - 1]), 3)
