"""Scores networks on whole volumes, organ by organ, in the volumes' own voxels and in millimeters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jetseg.data.contract import Split, VolumetricSplit
from jetseg.measured import OrganScore, VolumeAccuracy
from jetseg.postprocess import ClassMap

_MM3_PER_ML = 1000.0


@dataclass(frozen=True)
class CaseScore:
    """What was found in one volume, by organ; those that neither labels nor answers hold are left out."""

    name: str
    organs: dict[str, OrganScore]


class VolumeMeter:
    """Collects class maps of slices, and scores each volume when it is complete.

    Args:
        split: A labelled split.
    """

    def __init__(self, split: VolumetricSplit) -> None:
        self.cases: list[CaseScore] = []
        self._split = split
        self._slices: list[ClassMap] = []

    def add(self, index: int, class_map_hw_u8: ClassMap) -> None:
        """Adds the class map of a frame; frames must come in their order, all of them."""
        case, _ = self._split.place_of(index)
        self._slices.append(self._split.restore(case, class_map_hw_u8))
        if len(self._slices) < self._split.cases[case].count:
            return
        answer, truth = np.stack(self._slices), self._split.labels_of(case)
        self._slices = []
        if truth is not None:
            known = self._split.cases[case]
            self.cases.append(CaseScore(known.name, score_volume(truth, answer, self._split, known.spacing_mm)))

    def summary(self) -> VolumeAccuracy:
        """Returns the means over the volumes that are complete; see `summarize`."""
        return summarize(self.cases, self._split)


def volume_meter(split: Split, frames: Sequence[int]) -> VolumeMeter | None:
    """Returns what scores the volumes of a split; None where it has none, or some slices are left out."""
    whole = isinstance(split, VolumetricSplit) and len(frames) == len(split)
    return VolumeMeter(split) if whole else None  # type: ignore[arg-type]


def score_volume(
    truth: npt.NDArray[np.uint8],
    answer: npt.NDArray[np.uint8],
    split: VolumetricSplit,
    spacing_mm: tuple[float, float, float],
) -> dict[str, OrganScore]:
    """Scores the class ids of one volume.

    Args:
        truth: Labels, slices x rows x columns.
        answer: What a network says, likewise.
        split: Says the classes, of which the first is no organ, and how to score.
        spacing_mm: From one slice, row and column to the next.
    """
    if split.ignore_index is not None:
        known = truth != split.ignore_index
        truth, answer = np.where(known, truth, 0), np.where(known, answer, 0)
    found = {}
    for number, name in enumerate(split.classes[1:], 1):
        one, other = truth == number, answer == number
        if one.any() or other.any():
            found[name] = _score_organ(
                one, other, split.scoring.tolerance_mm, spacing_mm, name in split.scoring.lesions
            )
    return found


def _score_organ(
    truth: npt.NDArray[np.bool_],
    answer: npt.NDArray[np.bool_],
    tolerance_mm: float,
    spacing_mm: tuple[float, float, float],
    lesions: bool,
) -> OrganScore:
    from jetseg.evaluation.surface_distance import count_lesions, surface_distances

    size, other, both = int(truth.sum()), int(answer.sum()), int((truth & answer).sum())
    ml = float(np.prod(spacing_mm)) / _MM3_PER_ML
    if size and other:
        distances = surface_distances(truth, answer, spacing_mm)
        hd95_mm, nsd = distances.hd95_mm, distances.nsd(tolerance_mm)
    else:
        hd95_mm, nsd = float(np.linalg.norm(np.multiply(truth.shape, spacing_mm))), 0.0
    counts = count_lesions(truth, answer) if lesions else (None, None, None)
    return OrganScore(
        cases=1,
        dice=200 * both / (size + other),
        iou=100 * both / (size + other - both),
        hd95_mm=hd95_mm,
        nsd=nsd,
        volume_ml=size * ml,
        volume_error_ml=abs(other - size) * ml,
        lesions_found=counts[0],
        lesions_missed=counts[1],
        lesions_false=counts[2],
    )


def summarize(cases: Sequence[CaseScore], split: VolumetricSplit) -> VolumeAccuracy:
    """Takes the mean of each organ over the volumes in which it is, and the sum of lesions; rounded to two decimals."""
    organs = {}
    for name in split.classes[1:]:
        scores = [case.organs[name] for case in cases if name in case.organs]
        if scores:
            organs[name] = _mean_score(scores)
    return VolumeAccuracy(cases=len(cases), tolerance_mm=split.scoring.tolerance_mm, organs=organs)


def _mean_score(scores: Sequence[OrganScore]) -> OrganScore:
    means = {
        key: round(float(np.mean([getattr(score, key) for score in scores])), 2)
        for key in ("dice", "iou", "hd95_mm", "nsd", "volume_ml", "volume_error_ml")
    }
    counts = {
        key: sum(getattr(score, key) for score in scores)
        for key in ("lesions_found", "lesions_missed", "lesions_false")
        if getattr(scores[0], key) is not None
    }
    return OrganScore(cases=len(scores), **means, **counts)
