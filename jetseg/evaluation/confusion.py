"""Dataset-level mIoU: one confusion matrix summed over all frames, IoU per class, mean over classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from jetseg.errors import DataError
from jetseg.evaluation.volumes import CaseScore

_EXACT_FLOAT32_COUNT = 1 << 24
"""cv2.calcHist counts in float32, which is exact below this number."""


@dataclass(frozen=True)
class Score:
    """Accuracy over some frames; every figure in percent, None where it is undefined; `cases` of volumes only."""

    frames: int
    miou: float | None
    pixel_accuracy: float | None
    per_class_iou: dict[str, float | None]
    cases: tuple[CaseScore, ...] = ()


class ConfusionMatrix:
    """Sums the confusion of predictions against labels.

    A void prediction (id >= number of classes) on a labelled pixel counts as an error of that pixel's class.

    Args:
        classes: Class names; their positions are the label ids.
        ignore_index: Label id that is not scored, or None.
    """

    def __init__(self, classes: Sequence[str], ignore_index: int | None) -> None:
        self.classes = tuple(classes)
        self.ignore_index = ignore_index
        self.frames = 0
        count = len(self.classes)
        self.counts: npt.NDArray[np.int64] = np.zeros((count, count + 1), dtype=np.int64)
        """Rows: label; columns: prediction, the last one void."""

    def update(self, label_hw_u8: npt.NDArray[np.uint8], prediction_hw_u8: npt.NDArray[np.uint8]) -> None:
        """Adds one frame.

        Args:
            label_hw_u8: Labels, H x W.
            prediction_hw_u8: Predicted class ids, H x W.

        Raises:
            DataError: The shapes differ, or a label id is neither a class nor the ignored one.
        """
        if label_hw_u8.shape != prediction_hw_u8.shape:
            raise DataError(
                f"The label is {label_hw_u8.shape} pixels (height, width), the prediction {prediction_hw_u8.shape}."
            )
        joint = _joint_histogram(label_hw_u8, prediction_hw_u8)
        count = len(self.classes)
        known = joint[:count].copy()
        strangers = joint[count:].sum(axis=1)
        if self.ignore_index is not None and self.ignore_index >= count:
            strangers[self.ignore_index - count] = 0
        elif self.ignore_index is not None:
            known[self.ignore_index] = 0
        if strangers.any():
            stranger = count + int(np.flatnonzero(strangers)[0])
            raise DataError(
                f"Label id {stranger} is neither one of the {count} classes (0 to {count - 1}) nor the ignored id "
                f"({self.ignore_index}).",
                "Correct the label files or the class list.",
            )
        self.counts[:, :count] += known[:, :count]
        self.counts[:, count] += known[:, count:].sum(axis=1)
        self.frames += 1

    def add(self, other: ConfusionMatrix) -> None:
        """Adds the frames of another matrix of the same classes."""
        self.counts += other.counts
        self.frames += other.frames

    def score(self) -> Score:
        """Returns mIoU, pixel accuracy and IoU per class over everything added so far.

        A class that neither labels nor predictions hold has no IoU and is left out of the mean.
        """
        count = len(self.classes)
        hits = np.diagonal(self.counts).astype(np.float64)
        union = self.counts.sum(axis=1) + self.counts[:, :count].sum(axis=0) - hits
        iou = [float(100 * hit / total) if total else None for hit, total in zip(hits, union, strict=True)]
        defined = [value for value in iou if value is not None]
        pixels = int(self.counts.sum())
        return Score(
            frames=self.frames,
            miou=float(np.mean(defined)) if defined else None,
            pixel_accuracy=float(100 * hits.sum() / pixels) if pixels else None,
            per_class_iou=dict(zip(self.classes, iou, strict=True)),
        )


def _joint_histogram(
    label_hw_u8: npt.NDArray[np.uint8], prediction_hw_u8: npt.NDArray[np.uint8]
) -> npt.NDArray[np.int64]:
    """Counts every pair of label id and predicted id: 256 x 256."""
    label, prediction = np.ascontiguousarray(label_hw_u8), np.ascontiguousarray(prediction_hw_u8)
    rows = max(1, _EXACT_FLOAT32_COUNT // max(1, label.shape[1]))
    joint = np.zeros((256, 256), dtype=np.int64)
    for top in range(0, label.shape[0], rows):
        strip = [label[top : top + rows], prediction[top : top + rows]]
        joint += cv2.calcHist(strip, [0, 1], None, [256, 256], [0, 256, 0, 256]).astype(np.int64)
    return joint
