"""Frames of a video file, without labels: to calibrate on what the vehicle's own camera saw."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from jetseg.data.contract import Sample
from jetseg.data.files import place_of
from jetseg.errors import DataError
from jetseg.palette import Color

_SPLITS = {"all": (0.0, 1.0), "train": (0.0, 0.8), "val": (0.8, 1.0)}
_STRIDE = 300
"""Frames that are rather skipped one by one than by a search, which begins anew at a key frame."""


class Video:
    """A video file; see `jetseg.data.contract.DatasetKind`."""

    form = "video:FILE"

    @staticmethod
    def open_split(spec: str, place: str, split: str) -> VideoSplit:
        """Opens a split: "train" is the first 80 % of the frames, "val" the rest, "all" both.

        Raises:
            ConfigError: The spec names no file.
            DataError: The file is missing or is not a video, or there is no such split.
        """
        return VideoSplit(spec, place_of(spec, place), split)


class VideoSplit:
    """One split of a video; see `jetseg.data.contract.Split`. It has no classes.

    Args:
        spec: The spec that opens it again.
        place: The file.
        split: "train" is the first 80 % of the frames, "val" the rest, "all" both.

    Raises:
        DataError: The file is missing or is not a video, or there is no such split.
    """

    classes: tuple[str, ...] = ()
    palette: tuple[Color, ...] = ()
    ignore_index: int | None = None

    def __init__(self, spec: str, place: Path, split: str) -> None:
        if split not in _SPLITS:
            raise DataError(f"A video has no split {split!r}; there are: {', '.join(_SPLITS)}.", "Choose one of these.")
        if not place.is_file():
            raise DataError(f"{place} does not exist.", "Check the path.")
        self.spec = spec
        self.split = split
        self._place = place
        self._capture = cv2.VideoCapture(str(place))
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)) if self._capture.isOpened() else 0
        begin, end = _SPLITS[split]
        self._first, self._length = round(begin * count), round(end * count) - round(begin * count)
        self._next = 0
        if self._length < 1:
            raise DataError(
                f"{place} is not a video that OpenCV can search in, or it has too few frames.",
                "Convert it, for instance to H.264 in MP4.",
            )

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Sample:
        """Decodes one frame; in ascending order it is fastest."""
        if not -self._length <= index < self._length:
            raise IndexError(f"frame {index} of {self._length}")
        number = self._first + index % self._length
        if not self._next <= number <= self._next + _STRIDE:
            self._capture.set(cv2.CAP_PROP_POS_FRAMES, number)
            self._next = number
        while self._next < number and self._capture.grab():
            self._next += 1
        good, image = self._capture.read()
        if not good or self._next != number:
            self._next = -_STRIDE - 1  # unknown: the next frame is searched for
            raise DataError(
                f"{self._place} is damaged: frame {number} cannot be decoded.", "Copy it again, or convert it."
            )
        self._next += 1
        if image.ndim == 2:
            image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
        return Sample(f"{self._place.stem}_{number:06d}", np.asarray(image, dtype=np.uint8), None)
