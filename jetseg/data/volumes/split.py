"""One split of volumes: each slice is a frame, and what was found in the slices becomes a volume again."""

from __future__ import annotations

import bisect
import copy
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np

from jetseg.data.contract import Sample, VolumeCase, VolumeScoring
from jetseg.data.volumes.files import planes_of, read_volume
from jetseg.data.volumes.labels import Labels, VolumeCode, read_labels
from jetseg.data.volumes.nifti_file import NIFTI_SUFFIXES, is_nifti, write_class_volume
from jetseg.data.volumes.slicing import Layout, frame_of, lay_out, layout_of, take_out
from jetseg.data.volumes.volume import Axis, Planes, Volume
from jetseg.errors import ConfigError, DataError
from jetseg.input_spec import FrameWindow, SliceSpec
from jetseg.palette import Color, default_palette
from jetseg.postprocess import ClassMap

Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Part:
    """A volume, or ranges of its slices.

    Attributes:
        name: Unique in the dataset.
        image: NIfTI file, or folder of a DICOM series.
        labels: Its label volume, or the mask of each organ; None without.
        ranges: First and last slice of each range; None for all slices.
        but: Ranges that are left out, where it is all slices.
    """

    name: str
    image: Path
    labels: Labels | None = None
    ranges: Ranges | None = None
    but: Ranges = ()

    def volume(self) -> Volume:
        """Returns the whole volume."""
        return read_volume(self.image)

    def planes(self, axis: Axis) -> Planes:
        """Returns how the slices of the whole volume lie in it."""
        return planes_of(self.image, axis)

    def class_ids(self, axis: Axis, code: VolumeCode) -> ClassMap | None:
        """Returns the class ids of the whole volume, slices x rows x columns; None without labels."""
        return None if self.labels is None else read_labels(self.labels, self.volume(), axis, code)


@dataclass(frozen=True)
class Case(VolumeCase):
    """A case and its files.

    Attributes:
        part: Where the slices come from.
        planes: How the volume's slices lie.
        layout: How a slice lies in a frame.
    """

    part: Part
    planes: Planes
    layout: Layout


class VolumeSplit:
    """One split of volumes; see `jetseg.data.contract.VolumetricSplit`.

    Args:
        spec: The spec that opens it again.
        split: Name of the split.
        code: Classes, and how label values become their ids.
        parts: The volumes.
        window: Which values become 0 to 255.
        slices: How volumes become frames; None leaves it to the network, and means axial slices without one.
        palette: RGB per class; customary colors by default.
        scoring: How volumes are scored.

    Raises:
        DataError: A volume is damaged or too large for the frame, or has fewer slices than were named.
    """

    def __init__(
        self,
        spec: str,
        split: str,
        code: VolumeCode,
        parts: Sequence[Part],
        *,
        window: FrameWindow | None = None,
        slices: SliceSpec | None = None,
        palette: Sequence[Color] | None = None,
        scoring: VolumeScoring | None = None,
    ) -> None:
        self.spec, self.split, self.classes = spec, split, code.classes
        self.palette = tuple(palette) if palette is not None else default_palette(code.classes)
        self.ignore_index = code.ignore_index
        self.window, self.slices = window, slices
        self.scoring = scoring or VolumeScoring()
        self._code, self._parts, self._view = code, tuple(parts), slices or SliceSpec()
        self.cases = tuple(case for part in parts for case in _cases_of(part, self._view))
        self._read: tuple[Part, ClassMap | None] | None = None
        self._ends = list(accumulate(case.count for case in self.cases))

    def with_window(self, window: FrameWindow | None) -> VolumeSplit:
        """Returns the same split whose values become pixels in another way."""
        other = copy.copy(self)
        other.window = window
        return other

    def with_slices(self, slices: SliceSpec | None) -> VolumeSplit:
        """Returns the same split whose volumes become frames in another way.

        Raises:
            DataError: Ranges of slices are held out, and count along another axis.
        """
        held = any(part.ranges is not None or part.but for part in self._parts)
        axis = (slices or SliceSpec()).axis
        if held and axis != self._view.axis:
            raise DataError(
                f"{self.spec} holds out {self._view.axis} slices, and the network sees {axis} ones.",
                "Write `slices: {axis: }` into classes.yaml, and the ranges along it.",
            )
        return VolumeSplit(
            self.spec,
            self.split,
            self._code,
            self._parts,
            window=self.window,
            slices=slices,
            palette=self.palette,
            scoring=self.scoring,
        )

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> Sample:
        """Makes a frame of one slice; see `jetseg.data.contract.Split`."""
        place, position = self.place_of(index)
        case = self.cases[place]
        number = case.first + position
        volume = case.part.volume()
        slices = case.planes.cut(volume.values)
        image = frame_of(slices, number, self._view, self.window, case.layout, volume.name)
        name = f"{case.part.name}_{number:04d}"
        labels = self._labels(case.part)
        if labels is None:
            return Sample(name, image, None)
        around = 0 if self.ignore_index is None else self.ignore_index
        return Sample(name, image, lay_out(labels[number], case.layout, around))

    def place_of(self, index: int) -> tuple[int, int]:
        """Returns the number of the case that a frame belongs to, and its position in it."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        case = bisect.bisect_right(self._ends, index)
        return case, index - (self._ends[case] - self.cases[case].count)

    def labels_of(self, case: int) -> ClassMap | None:
        """Returns the class ids of a case, slices x rows x columns of the volume itself; None without labels."""
        found = self.cases[case]
        labels = self._labels(found.part)
        return None if labels is None else labels[found.first : found.first + found.count]

    def restore(self, case: int, class_map_hw_u8: ClassMap) -> ClassMap:
        """Returns a network's class ids for a frame as those of its slice: rows x columns of the volume itself."""
        _, rows, columns = self.cases[case].planes.slices_shape
        return take_out(class_map_hw_u8, self.cases[case].layout, rows, columns)

    def save(self, case: int, class_ids: ClassMap, path: Path) -> None:
        """Writes the class ids of a case, slices x rows x columns, as a NIfTI file in the geometry of its volume.

        Slices of the volume that are not in the case hold zeros.

        Raises:
            ConfigError: The file is one of the dataset's own, or its name ends otherwise.
            StorageError: It could not be written.
        """
        for part in self._parts:
            labels = part.labels.values() if isinstance(part.labels, dict) else [part.labels or part.image]
            if path.resolve() in {file.resolve() for file in (part.image, *labels)}:
                raise ConfigError(f"{path} is read, and must not be written over.", "Give another place as `out`.")
        if not is_nifti(path):
            raise ConfigError(f"{path} does not end in {' or '.join(NIFTI_SUFFIXES)}.", "Rename it.")
        found = self.cases[case]
        whole = np.zeros(found.planes.slices_shape, np.uint8)
        whole[found.first : found.first + found.count] = class_ids
        write_class_volume(path, found.planes.join(whole), found.part.volume())

    def _labels(self, part: Part) -> ClassMap | None:
        if self._read is None or self._read[0] != part:
            self._read = part, part.class_ids(self._view.axis, self._code)
        return self._read[1]


def _cases_of(part: Part, view: SliceSpec) -> list[Case]:
    planes = part.planes(view.axis)
    layout = layout_of(planes, view.grid, str(part.image))
    total = planes.slices_shape[0]
    beyond = [last for _, last in (*(part.ranges or ()), *part.but) if last >= total]
    if beyond:
        raise DataError(
            f"{part.image} has {total} {view.axis} slices, 0 to {total - 1}, and classes.yaml names {beyond[0]}.",
            "Correct `slices` of this volume.",
        )
    ranges = part.ranges if part.ranges is not None else _rest(total, part.but)
    return [
        Case(
            part.name if (first, last) == (0, total - 1) else f"{part.name}_{first}-{last}",
            first,
            last - first + 1,
            planes.spacing_mm,
            part,
            planes,
            layout,
        )
        for first, last in ranges
    ]


def _rest(total: int, but: Ranges) -> Ranges:
    """Returns the ranges that remain of some slices.

    >>> _rest(10, ((2, 3), (8, 9)))
    ((0, 1), (4, 7))
    """
    begin, found = 0, []
    for first, last in (*sorted(but), (total, total)):
        if begin < first:
            found.append((begin, first - 1))
        begin = last + 1
    return tuple(found)
