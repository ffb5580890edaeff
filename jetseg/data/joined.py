"""Several splits of a dataset as one, as in "train+val"."""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import cast

from jetseg.data.contract import (
    Sample,
    SlicedSplit,
    Split,
    TargetSplit,
    VolumeCase,
    VolumetricSplit,
    WindowedSplit,
)
from jetseg.errors import DataError
from jetseg.input_spec import FrameWindow, SliceSpec
from jetseg.output_spec import OutputSpec
from jetseg.postprocess import ClassMap


def join_splits(parts: Sequence[Split]) -> JoinedSplits:
    """Returns splits of one dataset as one; of volumes as one split of volumes.

    Raises:
        DataError: Their classes differ.
    """
    return (JoinedVolumes if all(isinstance(part, VolumetricSplit) for part in parts) else JoinedSplits)(parts)


class JoinedSplits:
    """One split after the other; see `jetseg.data.contract.Split`.

    Args:
        parts: Splits of one dataset.

    Raises:
        DataError: Their classes differ.
    """

    def __init__(self, parts: Sequence[Split]) -> None:
        first = parts[0]
        for part in parts:
            if (part.classes, part.ignore_index) != (first.classes, first.ignore_index):
                raise DataError(
                    f"The splits {first.split} and {part.split} of {first.spec} have different classes.",
                    "Train on splits with the same classes.",
                )
        self.spec = first.spec
        self.split = "+".join(part.split for part in parts)
        self.classes = first.classes
        self.palette = first.palette
        self.ignore_index = first.ignore_index
        self._parts = parts
        self._ends = list(accumulate(len(part) for part in parts))

    @property
    def window(self) -> FrameWindow | None:
        """Which values of frames of more than 8 bits become 0 to 255."""
        first = self._parts[0]
        return first.window if isinstance(first, WindowedSplit) else None

    def with_window(self, window: FrameWindow | None) -> JoinedSplits:
        """Returns the same splits whose deep frames become pixels in another way."""
        parts = [part.with_window(window) if isinstance(part, WindowedSplit) else part for part in self._parts]
        return join_splits(parts)

    @property
    def targets(self) -> Mapping[str, OutputSpec]:
        """What there is to learn beside the classes, in all of the splits."""
        first = self._parts[0]
        return first.targets if isinstance(first, TargetSplit) else {}

    def with_targets(self, names: Sequence[str]) -> JoinedSplits:
        """Returns the same splits whose samples have these targets."""
        parts = [part.with_targets(names) if isinstance(part, TargetSplit) else part for part in self._parts]
        return join_splits(parts)

    @property
    def slices(self) -> SliceSpec | None:
        """How volumes become frames."""
        first = self._parts[0]
        return first.slices if isinstance(first, SlicedSplit) else None

    def with_slices(self, slices: SliceSpec | None) -> JoinedSplits:
        """Returns the same splits whose volumes become frames in another way."""
        parts = [part.with_slices(slices) if isinstance(part, SlicedSplit) else part for part in self._parts]
        return join_splits(parts)

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Sample:
        """Decodes one frame; see `Split`."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        number, position = _place(self._ends, index)
        return self._parts[number][position]


class JoinedVolumes(JoinedSplits):
    """The volumes of one split after those of the other; see `jetseg.data.contract.VolumetricSplit`.

    Args:
        parts: Splits of volumes of one dataset.
    """

    def __init__(self, parts: Sequence[Split]) -> None:
        super().__init__(parts)
        self._volumes = cast("Sequence[VolumetricSplit]", parts)
        self._last = list(accumulate(len(part.cases) for part in self._volumes))
        self.scoring = self._volumes[0].scoring

    @property
    def cases(self) -> tuple[VolumeCase, ...]:
        """The volumes, or ranges of slices that are held out."""
        return tuple(case for part in self._volumes for case in part.cases)

    def place_of(self, index: int) -> tuple[int, int]:
        """Returns the number of the case that a frame belongs to, and its position in it."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        number, place = _place(self._ends, index)
        case, position = self._volumes[number].place_of(place)
        return case + self._last[number] - len(self._volumes[number].cases), position

    def labels_of(self, case: int) -> ClassMap | None:
        """Returns the class ids of a case; None without labels."""
        number, place = _place(self._last, case)
        return self._volumes[number].labels_of(place)

    def restore(self, case: int, class_map_hw_u8: ClassMap) -> ClassMap:
        """Returns a network's class ids for a frame as those of its slice."""
        number, place = _place(self._last, case)
        return self._volumes[number].restore(place, class_map_hw_u8)

    def save(self, case: int, class_ids: ClassMap, path: Path) -> None:
        """Writes the class ids of a case as a NIfTI file in the geometry of its volume."""
        number, place = _place(self._last, case)
        self._volumes[number].save(place, class_ids, path)


def _place(ends: Sequence[int], index: int) -> tuple[int, int]:
    """Returns in which of several lists, by their ends, something lies, and where in it.

    >>> _place([3, 3, 5], 3)
    (2, 0)
    """
    number = bisect.bisect_right(ends, index)
    return number, index - (ends[number - 1] if number else 0)
