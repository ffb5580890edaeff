"""The calibration profile: what pictures and answers look like when all is well, for a vehicle without labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from jetseg.data.contract import Split
from jetseg.data.dataset import match_input
from jetseg.evaluation.accuracy import spread
from jetseg.evaluation.confusion import ConfusionMatrix
from jetseg.evaluation.signals import SignalMeter, Signals, Vector, grid_scores, on_grid
from jetseg.manifest import Manifest
from jetseg.measured import JointNormal, Profile
from jetseg.postprocess import ClassMap, as_nchw, class_map, class_scores, confident_scores, resize_class_map
from jetseg.preprocess import FrameU8, NetworkInput, Preprocessor
from jetseg.progress import track

LEAST_FRAMES = 8
_QUANTILES = (0.01, 0.5, 0.99)
_SHRINKAGE = 0.1
"""Weight of "no correlation" in a joint record, because some hundred frames do not tell it exactly."""
_SCALARS = ("brightness", "clipped", "sharpness", "doubt", "entropy", "flicker")
JOINTS = ("colors", "scene", "classes")


def measure_profile(
    infer: Callable[[NetworkInput], npt.NDArray[Any]],
    manifest: Manifest,
    dataset: Split,
    *,
    frames: int = 128,
    parent: Callable[[FrameU8], ClassMap] | None = None,
) -> Profile | None:
    """Measures a network on pairs of neighboring frames, spread evenly over a split.

    Args:
        infer: The engine: network input to raw output.
        manifest: Its manifest.
        dataset: Frames as they are when all is well; labels are not looked at.
        frames: How many to measure on.
        parent: The network that the engine was made from: their agreement is measured too.

    Returns:
        The profile; None if there are fewer than 8 frames, which tell no bounds.
    """
    if min(len(dataset), frames) < LEAST_FRAMES:
        return None
    dataset = match_input(dataset, manifest.input)
    preprocess, meter = Preprocessor(manifest.input), SignalMeter(manifest.num_classes)
    agreement = ConfusionMatrix(manifest.classes, manifest.num_classes)
    measured: list[Signals] = []
    for first in track(spread(len(dataset) - 1, frames // 2), "Measuring the profile"):
        meter.forget()
        for index in (first, first + 1):
            image = dataset[index].image_hwc_u8
            output = np.asarray(infer(preprocess(image)))
            ids = class_map(output, manifest)
            measured.append(meter.measure(image, ids, scores_of(output, manifest)))
        if parent is not None:
            agreement.update(resize_class_map(parent(image), *ids.shape), ids)
    return make_profile(measured, manifest, dataset, agreement.score().miou)


def scores_of(output: npt.NDArray[Any], manifest: Manifest) -> npt.NDArray[np.float32] | None:
    """Returns the scores that confidence is measured on; None where the output is a class map without confidence."""
    spec = manifest.output
    if spec.confidence:
        return confident_scores(on_grid(output[0]).reshape(2, -1), manifest.num_classes)
    return class_scores(grid_scores(as_nchw(output, spec)), spec) if spec.kind == "logits" else None


def make_profile(
    measured: Sequence[Signals], manifest: Manifest, dataset: Split, agreement_miou: float | None = None
) -> Profile:
    """Turns the signals of some frames into a profile."""
    vectors = {name: np.array([joint_vectors(signals)[name] for signals in measured]) for name in JOINTS}
    joint = {name: fit_normal(values) for name, values in vectors.items()}
    scalars = {name: [getattr(signals, name) for signals in measured] for name in _SCALARS}
    values = {name: [value for value in found if value is not None] for name, found in scalars.items()}
    values |= {name: list(map(Mahalanobis(joint[name]), vectors[name])) for name in JOINTS}
    shares = 100 * np.array([signals.class_shares for signals in measured])
    return Profile(
        data=dataset.spec.split(":", 1)[0],
        split=dataset.split,
        frames=len(measured),
        quantiles={name: _rounded(np.quantile(found, _QUANTILES)) for name, found in values.items() if found},
        joint=joint,
        class_percent={
            name: (round(float(mean), 2), round(float(deviation), 2))
            for name, mean, deviation in zip(manifest.classes, shares.mean(axis=0), shares.std(axis=0), strict=False)
        },
        agreement_miou=None if agreement_miou is None else round(agreement_miou, 2),
    )


def joint_vectors(signals: Signals) -> dict[str, Vector]:
    """Returns the vectors that are judged as a whole. Square roots make small class shares count as large ones do."""
    return {"colors": signals.colors, "scene": signals.scene, "classes": np.sqrt(signals.class_shares)}


class Mahalanobis:
    """Distance of a vector from what was recorded, in standard deviations: 0 is the mean.

    Args:
        normal: The record.

    >>> normal = JointNormal(mean=(0.0, 0.0), std=(1.0, 2.0), correlation=((1.0, 0.0), (0.0, 1.0)))
    >>> Mahalanobis(normal)(np.array([3.0, 8.0]))
    5.0
    """

    def __init__(self, normal: JointNormal) -> None:
        self._mean, self._std = np.array(normal.mean), np.array(normal.std)
        self._inverse = np.linalg.inv(np.array(normal.correlation))

    def __call__(self, vector: Vector) -> float:
        """Returns the distance of one vector."""
        deviation = (vector - self._mean) / self._std
        return float(np.sqrt(deviation @ self._inverse @ deviation))


def fit_normal(vectors: Vector) -> JointNormal:
    """Returns means, deviations and correlations of some vectors, in rows."""
    # a quantity that never moved gets a small spread of its own, so that its first move is not infinitely odd
    deviations = np.maximum(vectors.std(axis=0), 0.02)
    scaled = (vectors - vectors.mean(axis=0)) / deviations
    correlation = (1 - _SHRINKAGE) * (scaled.T @ scaled) / len(vectors) + _SHRINKAGE * np.eye(vectors.shape[1])
    return JointNormal(
        mean=_rounded(vectors.mean(axis=0)),
        std=_rounded(deviations),
        correlation=tuple(_rounded(row) for row in correlation),
    )


def _rounded(values: Vector) -> tuple[float, ...]:
    return tuple(round(float(value), 5) for value in values)
