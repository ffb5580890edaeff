"""Accuracy while the loop runs, for sources that have labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from jetseg.evaluate.confusion import ConfusionMatrix, Score
from jetseg.postprocess import ClassMap, resize_class_map


class RunningAccuracy:
    """Sums a run's confusion matrix exactly as `jetseg.evaluate.accuracy.measure_accuracy` does.

    Args:
        classes: Class names; their positions are the label ids.
        ignore_index: Label id that is not scored, or None.
    """

    def __init__(self, classes: Sequence[str], ignore_index: int | None) -> None:
        self._confusion = ConfusionMatrix(classes, ignore_index)

    def add(self, label_hw_u8: npt.NDArray[np.uint8], class_map_hw_u8: ClassMap) -> None:
        """Adds one frame; the class map (any size) is compared at the label's resolution.

        Raises:
            DataError: A label id is neither a class nor the ignored one.
        """
        height, width = label_hw_u8.shape
        self._confusion.update(label_hw_u8, resize_class_map(class_map_hw_u8, height, width))

    def score(self) -> Score:
        """Returns the accuracy over all frames so far, in percent."""
        return self._confusion.score()
