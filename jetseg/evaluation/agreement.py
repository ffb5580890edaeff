"""How many pixels keep the class that another network gives them: no labels needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from jetseg.data.contract import Split
from jetseg.data.dataset import match_input
from jetseg.evaluation.accuracy import check_classes, spread
from jetseg.evaluation.confusion import ConfusionMatrix
from jetseg.manifest import Manifest
from jetseg.postprocess import ClassMap, resize_class_map
from jetseg.preprocess import FrameU8
from jetseg.progress import track

VOID = "(void)"
"""Stands for the ids beyond the classes when two class maps are compared."""


@dataclass(frozen=True)
class Agreement:
    """What two networks agree on.

    Attributes:
        frames: How many were compared.
        percent: Pixels of equal class.
        kept: For each class that the reference saw, the percent of its pixels that keep it.
        given: The classes that the other network gives.
    """

    frames: int
    percent: float
    kept: dict[str, float]
    given: tuple[str, ...] = ()


class AgreementMeter:
    """Predicts with one network and counts, on the way, where another one agrees.

    Args:
        predict: Frame (uint8, BGR, H x W x 3) to class map.
        reference: Likewise; its class maps are brought to the size of the others by nearest neighbor.
        manifest: The manifest of the first.
        other: The manifest of the reference.

    Raises:
        DataError: Their classes differ.
    """

    def __init__(
        self,
        predict: Callable[[FrameU8], ClassMap],
        reference: Callable[[FrameU8], ClassMap],
        manifest: Manifest,
        other: Manifest,
    ) -> None:
        check_classes(manifest.classes, other.classes, "the reference")
        self._predict, self._reference = predict, reference
        self._input = manifest.input
        self._together = ConfusionMatrix((*manifest.classes, VOID), None)

    def __call__(self, frame_hwc_u8: FrameU8) -> ClassMap:
        """Returns the first network's class map."""
        found = self._predict(frame_hwc_u8)
        wanted = resize_class_map(self._reference(frame_hwc_u8), *found.shape)
        self._together.update(np.minimum(wanted, len(self._together.classes) - 1), found)
        return found

    def run(self, dataset: Split, frames: int | None = None) -> None:
        """Predicts frames of a dataset, spread evenly over it; all by default."""
        dataset = match_input(dataset, self._input)
        for index in track(spread(len(dataset), frames), "Comparing"):
            self(dataset[index].image_hwc_u8)

    @property
    def agreement(self) -> Agreement:
        """The count over all frames so far, one at least."""
        return agreement_of(self._together)


def agreement_of(together: ConfusionMatrix) -> Agreement:
    """Reads the agreement off a confusion matrix in which the reference stood for the label."""
    kept = {name: share for name, share in kept_per_class(together).items() if share is not None}
    percent = 100 * int(together.counts.trace()) / int(together.counts.sum())
    totals = together.counts.sum(axis=0)
    given = tuple(name for name, total in zip(together.classes, totals, strict=False) if total)
    return Agreement(together.frames, percent, kept, given)


def kept_per_class(kept: ConfusionMatrix) -> dict[str, float | None]:
    """Returns the percent of each class's pixels that keep it, where another network stood for the label."""
    hits, totals = np.diagonal(kept.counts), kept.counts.sum(axis=1)
    shares = [100 * int(hit) / int(total) if total else None for hit, total in zip(hits, totals, strict=True)]
    return dict(zip(kept.classes, shares, strict=True))
