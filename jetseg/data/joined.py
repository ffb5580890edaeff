"""Several splits of a dataset as one, as in "train+val"."""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from itertools import accumulate

from jetseg.data.contract import Sample, SlicedSplit, Split, TargetSplit, WindowedSplit
from jetseg.errors import DataError
from jetseg.input_spec import FrameWindow, SliceSpec
from jetseg.output_spec import OutputSpec


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
        return JoinedSplits(parts)

    @property
    def targets(self) -> Mapping[str, OutputSpec]:
        """What there is to learn beside the classes, in all of the splits."""
        first = self._parts[0]
        return first.targets if isinstance(first, TargetSplit) else {}

    def with_targets(self, names: Sequence[str]) -> JoinedSplits:
        """Returns the same splits whose samples have these targets."""
        parts = [part.with_targets(names) if isinstance(part, TargetSplit) else part for part in self._parts]
        return JoinedSplits(parts)

    @property
    def slices(self) -> SliceSpec | None:
        """How volumes become frames."""
        first = self._parts[0]
        return first.slices if isinstance(first, SlicedSplit) else None

    def with_slices(self, slices: SliceSpec | None) -> JoinedSplits:
        """Returns the same splits whose volumes become frames in another way."""
        parts = [part.with_slices(slices) if isinstance(part, SlicedSplit) else part for part in self._parts]
        return JoinedSplits(parts)

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Sample:
        """Decodes one frame; see `Split`."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        number = bisect.bisect_right(self._ends, index)
        part = self._parts[number]
        return part[index - (self._ends[number] - len(part))]
