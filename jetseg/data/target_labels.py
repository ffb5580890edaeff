"""A split whose labels are one of its further targets."""

from __future__ import annotations

from dataclasses import replace

from jetseg.data.contract import SEGMENTATION, Sample, Split
from jetseg.data.dataset import select_targets
from jetseg.errors import DataError
from jetseg.palette import default_palette


class TargetLabels:
    """Frames with the labels of a target; see `jetseg.data.contract.Split`.

    Args:
        source: The split.
        target: Name of a target with classes.

    Raises:
        DataError: The split does not know it, or it has no classes.
    """

    def __init__(self, source: Split, target: str) -> None:
        self._source, (output,) = select_targets(source, [target])
        if not output.classes:
            raise DataError(f"{target} of {source.spec} has no classes.", "Give a target that has.")
        self._target = target
        self.spec, self.split = source.spec, source.split
        self.classes, self.ignore_index = output.classes, output.ignore_index
        self.palette = output.palette or default_palette(output.classes)

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Sample:
        """Decodes one frame; see `Split`."""
        sample = self._source[index]
        return replace(sample, label_hw_u8=sample.targets.get(self._target), targets={})


def labels_of_target(source: Split, target: str) -> Split:
    """Returns a split with the labels of a target; "segmentation" are those that it has."""
    return source if target == SEGMENTATION else TargetLabels(source, target)
