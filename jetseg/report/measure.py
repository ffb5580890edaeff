"""Runs all networks over the same frames once, and finds out where they differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from jetseg.data.contract import Split
from jetseg.errors import DataError
from jetseg.evaluation.accuracy import check_classes, spread
from jetseg.evaluation.confusion import ConfusionMatrix
from jetseg.evaluation.volumes import volume_meter
from jetseg.measured import VolumeAccuracy
from jetseg.postprocess import ClassMap, resize_class_map
from jetseg.preprocess import FrameU8
from jetseg.progress import track
from jetseg.report.rows import Entry

_APART = 12
"""Chosen frames lie at least 1/_APART of the split apart: neighbors in a video show the same thing."""


@dataclass(frozen=True)
class JointScores:
    """What all networks said about the same frames.

    Attributes:
        frames: Positions of the scored frames in the split.
        confusion: Confusion matrix of each network, in the order of the entries.
        agreement: Percent of the pixels on which each network says the same as the one before it, per frame:
            networks - 1 rows of frames; of a single network, its pixel accuracy.
        volumes: What each network scored in volumes; None where there are none.
    """

    frames: tuple[int, ...]
    confusion: tuple[ConfusionMatrix, ...]
    agreement: tuple[tuple[float, ...], ...]
    volumes: tuple[VolumeAccuracy | None, ...] = ()


def score_together(entries: Sequence[Entry], split: Split, frames: int | None = None) -> JointScores:
    """Scores all networks in one pass over a split, at the resolution of the labels.

    Args:
        entries: The networks.
        split: The frames, with labels.
        frames: Use only this many frames, spread evenly; all by default.

    Raises:
        DataError: A network has other classes than the dataset, or a frame has no label.
    """
    for entry in entries:
        check_classes(entry.engine.manifest.classes, split.classes, split.spec)
    confusion = tuple(ConfusionMatrix(split.classes, split.ignore_index) for _ in entries)
    chosen = spread(len(split), frames)
    agreement, meters = [], [volume_meter(split, chosen) for _ in entries]
    for index in track(chosen, "Comparing the networks on every frame"):
        sample = split[index]
        if sample.label_hw_u8 is None:
            raise DataError(
                f"{split.spec} ({split.split}): frame {sample.name} has no label.",
                "A report compares accuracy, so it needs a labelled split.",
            )
        maps = predict_all(entries, sample.image_hwc_u8, sample.label_hw_u8.shape)
        for matrix, meter, ids in zip(confusion, meters, maps, strict=True):
            matrix.update(sample.label_hw_u8, ids)
            if meter is not None:
                meter.add(index, ids)
        agreement.append(_agreements(maps, sample.label_hw_u8, split.ignore_index))
    volumes = tuple(None if meter is None else meter.summary() for meter in meters)
    return JointScores(tuple(chosen), confusion, tuple(zip(*agreement, strict=True)), volumes)


def predict_all(entries: Sequence[Entry], frame_hwc_u8: FrameU8, shape: tuple[int, ...]) -> list[ClassMap]:
    """Returns the class map of every network for one frame, all of the shape (height, width)."""
    return [resize_class_map(entry.engine.segment(frame_hwc_u8), shape[0], shape[1]) for entry in entries]


def choose_examples(together: JointScores, count: int) -> list[tuple[int, str]]:
    """Chooses frames to show: those where the networks differ most, and last a typical one.

    Args:
        together: From `score_together`.
        count: Number of frames, fewer if the split has fewer.

    Returns:
        Position in the split and the reason, per frame.
    """
    if not together.frames or count < 1:
        return []
    worst = np.asarray(together.agreement).min(axis=0)
    order = [int(place) for place in np.argsort(worst, kind="stable")]
    apart = len(order) / _APART
    extremes: list[int] = []
    for place in order:
        if len(extremes) < count - 1 and all(abs(place - other) >= apart for other in extremes):
            extremes.append(place)
    typical = next((place for place in order[len(order) // 2 :] if place not in extremes), None)
    single = len(together.confusion) == 1
    reason = "lowest accuracy" if single else "largest disagreement"
    chosen = [(together.frames[place], reason) for place in extremes]
    return chosen + ([(together.frames[typical], "a typical frame")] if typical is not None else [])


def _agreements(maps: Sequence[ClassMap], label_hw_u8: ClassMap, ignore_index: int | None) -> list[float]:
    if len(maps) > 1:
        return [100 * float(np.mean(before == after)) for before, after in pairwise(maps)]
    scored = label_hw_u8 != (256 if ignore_index is None else ignore_index)
    return [100 * float(np.mean(maps[0][scored] == label_hw_u8[scored])) if scored.any() else 100.0]
