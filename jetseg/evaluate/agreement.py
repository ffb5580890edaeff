"""How many pixels keep the class that another network gives them: no labels needed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from jetseg.data.contract import SegmentationDataset
from jetseg.evaluate.accuracy import spread
from jetseg.postprocess import ClassMap, resize_class_map
from jetseg.preprocess import FrameU8
from jetseg.progress import track


class AgreementMeter:
    """Predicts with one network and counts, on the way, where another one agrees.

    Args:
        predict: Frame (uint8, BGR, H x W x 3) to class map.
        reference: Likewise; its class maps are brought to the size of the others by nearest neighbor.
    """

    def __init__(self, predict: Callable[[FrameU8], ClassMap], reference: Callable[[FrameU8], ClassMap]) -> None:
        self._predict, self._reference = predict, reference
        self._shares: list[float] = []

    def __call__(self, frame_hwc_u8: FrameU8) -> ClassMap:
        """Returns the first network's class map."""
        found = self._predict(frame_hwc_u8)
        wanted = resize_class_map(self._reference(frame_hwc_u8), *found.shape)
        self._shares.append(float(np.mean(found == wanted)))
        return found

    def run(self, dataset: SegmentationDataset, frames: int | None = None) -> None:
        """Predicts frames of a dataset, spread evenly over it; all by default."""
        for index in track(spread(len(dataset), frames), "Comparing"):
            self(dataset[index].image_hwc_u8)

    @property
    def percent(self) -> float | None:
        """Pixels of equal class over all frames so far, in percent; None before the first."""
        return 100.0 * float(np.mean(self._shares)) if self._shares else None
