"""Sources that are not cameras: image files, datasets with labels, and either of them paced like a camera."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter

from jetseg.camera.contract import Source, SourceFrame
from jetseg.data.contract import Split
from jetseg.data.decode import read_frame
from jetseg.monitor.statistics import SourceLosses

_PATIENCE_SECONDS = 0.1


class ImageSource:
    """Image files in the given order; see `jetseg.camera.contract.Source`."""

    split: str | None = None
    live = False
    frames_per_second: float | None = None
    size_hw: tuple[int, int] | None = None
    classes: tuple[str, ...] | None = None
    ignore_index: int | None = None

    def __init__(self, name: str, paths: Sequence[Path]) -> None:
        self.name = name
        self.losses = SourceLosses()
        self._paths = tuple(paths)
        self._sequence = 0

    def read(self) -> SourceFrame | None:
        """Decodes the next file.

        Raises:
            DataError: It is damaged.
        """
        if self._sequence >= len(self._paths):
            return None
        started = perf_counter()
        path = self._paths[self._sequence]
        frame = SourceFrame(self._sequence, path.stem, started, read_frame(path))
        self._sequence += 1
        return frame

    def close(self) -> None:
        """Holds nothing open."""


class DatasetSource:
    """The frames of a dataset split in order; see `jetseg.camera.contract.Source`.

    Args:
        dataset: The split.
        labels: Give labels with the frames.
        endless: Begin anew at the end.
    """

    live = False
    frames_per_second: float | None = None
    size_hw: tuple[int, int] | None = None

    def __init__(self, dataset: Split, *, labels: bool = True, endless: bool = False) -> None:
        self.name = dataset.spec
        self.split: str | None = dataset.split
        self.classes = dataset.classes if labels else None
        self.ignore_index = dataset.ignore_index if labels else None
        self.losses = SourceLosses()
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
        return SourceFrame(sequence, sample.name, started, sample.image_hwc_u8, label)

    def close(self) -> None:
        """Holds nothing open."""


class PacedSource:
    """Another source as a live camera: a frame each period, ready when it is due, whoever is waiting.

    Args:
        source: Gives the frames.
        frames_per_second: Of the camera that it stands for.
    """

    live = True

    def __init__(self, source: Source, frames_per_second: float) -> None:
        self.name = source.name
        self.split = source.split
        self.frames_per_second: float | None = frames_per_second
        self.size_hw = source.size_hw
        self.classes = source.classes
        self.ignore_index = source.ignore_index
        self.losses = source.losses
        self._source = source
        self._period = 1 / frames_per_second
        self._due: float | None = None
        self._next: SourceFrame | None = None

    def read(self) -> SourceFrame | None:
        """Decodes the next frame ahead of time and gives it when it is due.

        Raises:
            TimeoutError: It is not due yet.
        """
        if self._next is None:
            self._next = self._source.read()
            # a source that decodes too slowly for the pace delays the frames after it as well
            self._due = perf_counter() if self._due is None else max(self._due + self._period, perf_counter())
        frame, wait = self._next, (self._due or 0.0) - perf_counter()
        if frame is None:
            return None
        if wait > 0:
            time.sleep(min(wait, _PATIENCE_SECONDS))
        if wait > _PATIENCE_SECONDS:
            raise TimeoutError
        self._next = None
        return replace(frame, captured_at=perf_counter())

    def close(self) -> None:
        """Closes the other source."""
        self._source.close()
