"""The synthetic dataset: splits of frames from drives that share no street."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from jetseg.data.contract import Sample
from jetseg.data.synthetic.classes import CLASSES, Class
from jetseg.data.synthetic.drive import SyntheticDrive
from jetseg.errors import DataError
from jetseg.output_spec import DepthSpec, OutputSpec
from jetseg.palette import default_palette

RENDERER_VERSION = 2
"""Counts up with every change that changes pixels, so that calibrations made before it become stale."""

# First drive, frames per drive, frames of the drive from one to the next, default length.
_SPLITS = {"train": (0, 4, 25, 600), "val": (400_000, 4, 25, 60), "test": (700_000, 30, 1, 120)}
_DRIVES_KEPT = 4
_MASKS = {"drivable": (Class.ROAD, Class.LANE_MARKING), "lane": (Class.LANE_MARKING,)}
"""Binary targets, and the classes that belong to each."""
TARGETS = {
    "drivable": OutputSpec(name="drivable", task="binary", classes=("not drivable", "drivable")),
    "lane": OutputSpec(name="lane", task="binary", classes=("no marking", "lane marking")),
    "depth": OutputSpec(name="depth", task="depth", depth=DepthSpec(unit="m", low=1.0, high=100.0)),
}
"""What is known of a frame beside its classes."""


class SyntheticSplit:
    """One split. Train and val sample many short drives; test follows a few, frame by frame, like a camera.

    Args:
        spec: The spec that opens it again.
        split: "train", "val" or "test".
        frames: Number of frames; by default 600, 60 and 120.

    Raises:
        DataError: There is no such split.
    """

    def __init__(self, spec: str, split: str, frames: int | None = None) -> None:
        if split not in _SPLITS:
            raise DataError(f"{spec} has no split {split!r}; there are: {', '.join(_SPLITS)}.", "Choose one of these.")
        self.spec = spec
        self.split = split
        self.classes = CLASSES
        self.palette = default_palette(CLASSES)
        self.ignore_index: int | None = None
        self._first, self._per_drive, self._stride, length = _SPLITS[split]
        self._length = frames or length
        self._drives: OrderedDict[int, SyntheticDrive] = OrderedDict()
        self.targets: Mapping[str, OutputSpec] = TARGETS
        self._wanted: tuple[str, ...] = ()

    def with_targets(self, names: Sequence[str]) -> SyntheticSplit:
        """Returns the same split whose samples have these targets."""
        other = copy.copy(self)
        other._wanted = tuple(names)
        return other

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Sample:
        seed, frame = self.place(index)
        if seed not in self._drives:
            self._drives[seed] = SyntheticDrive(seed)
            if len(self._drives) > _DRIVES_KEPT:
                self._drives.popitem(last=False)
        sample = self._drives[seed].frame(frame, depth="depth" in self._wanted)
        if not self._wanted:
            return sample
        masks = {name: np.isin(np.asarray(sample.label_hw_u8), ids).view(np.uint8) for name, ids in _MASKS.items()}
        known = {**masks, **sample.targets}
        return replace(sample, targets={name: known[name] for name in self._wanted})

    def place(self, index: int) -> tuple[int, int]:
        """Returns the drive's seed and the number of the frame in it.

        Raises:
            IndexError: `index` is out of range.
        """
        if not -self._length <= index < self._length:
            raise IndexError(f"frame {index} of {self._length}")
        drive, frame = divmod(index % self._length, self._per_drive)
        return self._first + drive, frame * self._stride
