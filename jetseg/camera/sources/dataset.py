"""Datasets, with their labels."""

from __future__ import annotations

from time import perf_counter

from jetseg.camera.contract import Source, SourceFrame
from jetseg.data.contract import Split


class DatasetSource(Source):
    """The frames of a dataset split in order; see `jetseg.camera.contract.Source`.

    Args:
        dataset: The split.
        labels: Give labels with the frames.
        endless: Begin anew at the end.
    """

    def __init__(self, dataset: Split, *, labels: bool = True, endless: bool = False) -> None:
        self.name = dataset.spec
        self.split = dataset.split
        self.classes = dataset.classes if labels else None
        self.ignore_index = dataset.ignore_index if labels else None
        self._dataset = dataset
        self._endless = endless
        self._sequence = 0

    def read(self) -> SourceFrame | None:
        """Decodes the next frame.

        Raises:
            DataError: A file is damaged.
        """
        sequence, length = self._sequence, len(self._dataset)
        if sequence >= length and not self._endless:
            return None
        started = perf_counter()
        sample = self._dataset[sequence % length]
        self._sequence += 1
        label = sample.label_hw_u8 if self.classes is not None else None
        return SourceFrame(sequence, sample.name, started, sample.image_hwc_u8, label, sample.shown_at)
