"""Accuracy while the loop runs, for sources that have labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from jetseg.evaluation.confusion import ConfusionMatrix, Score
from jetseg.manifest import Manifest
from jetseg.monitor.alarm import Alarm, Bound, Notice
from jetseg.postprocess import ClassMap, resize_class_map


class RunningAccuracy:
    """Sums a run's confusion matrix exactly as `jetseg.evaluation.accuracy.measure_accuracy` does.

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


FAR_BELOW, _NEAR_AGAIN = 0.75, 0.8
"""Shares of the mIoU at build. A test set costs a sound network up to a fifth of what it reached in validation."""
_LEAST_FRAMES = 30
_EVERY = 10


class AccuracyAlarm:
    """Notices that the running mIoU is far below the one that was measured at build.

    Args:
        manifest: The engine's manifest; without a measured accuracy nothing is ever noticed.
        accuracy: The running accuracy of the same engine.
    """

    def __init__(self, manifest: Manifest, accuracy: RunningAccuracy) -> None:
        measured = [record.miou for record in manifest.accuracy if record.miou is not None]
        self._expected = measured[-1] if measured else None
        self._accuracy = accuracy
        expected = self._expected or 0.0
        self._alarm = Alarm(Bound(FAR_BELOW * expected, _NEAR_AGAIN * expected, above=False))
        self._frames = 0

    def check(self) -> list[Notice]:
        """Looks at the running accuracy, at every tenth frame from the thirtieth on."""
        self._frames += 1
        if self._expected is None or self._frames < _LEAST_FRAMES or self._frames % _EVERY:
            return []
        miou = self._accuracy.score().miou
        change = self._alarm.update(miou, float(self._frames))
        if change is None or miou is None:
            return []
        bound = self._alarm.bound.limit
        values: dict[str, float | int | str | None] = {
            "miou": round(miou, 2),
            "bound": round(bound, 2),
            "expected_miou": self._expected,
        }
        if change == "ended":
            return [Notice("low-accuracy-ended", "info", f"The accuracy is back: mIoU {miou:.1f} %.", values)]
        text = f"The accuracy is far below {self._expected:.1f} % at build: mIoU {miou:.1f} %, bound {bound:.1f} %."
        return [Notice("low-accuracy", "alarm", text, values)]
