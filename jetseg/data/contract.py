"""What every dataset gives: splits of decoded frames with labels, checked, in a fixed order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from jetseg.input_spec import FrameWindow, SliceSpec
from jetseg.output_spec import OutputSpec
from jetseg.palette import Color

SEGMENTATION = "segmentation"
"""The task that the labels of a dataset are for, among several."""


@dataclass(frozen=True)
class Sample:
    """One frame.

    Attributes:
        name: Stable name, unique in the split, as in "0001TP_008550".
        image_hwc_u8: height x width x 3, BGR (OpenCV's order), 0..255.
        label_hw_u8: height x width of class ids, `ignore_index` where not scored; None without labels.
        shown_at: Seconds since the beginning of a video; None for all else.
        targets: What else is known of the frame, by the target's name: class ids (uint8, height x width), or depth
            (float32), which is not a number where it was not measured. One that a frame lacks is left out.
    """

    name: str
    image_hwc_u8: npt.NDArray[np.uint8]
    label_hw_u8: npt.NDArray[np.uint8] | None
    shown_at: float | None = None
    targets: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)


class Split(Protocol):
    """One split of a dataset. Indexing decodes a frame anew, so any number fits in memory."""

    spec: str
    """The spec that opens it again, as in "camvid:/data/camvid"."""
    split: str
    classes: tuple[str, ...]
    palette: tuple[Color, ...]
    ignore_index: int | None

    def __len__(self) -> int:
        """Returns the number of frames."""
        ...

    def __getitem__(self, index: int) -> Sample:
        """Decodes one frame.

        Raises:
            DataError: A file is corrupt, sizes differ, or a label id is out of range; the file is named.
            IndexError: `index` is out of range.
        """
        ...


@runtime_checkable
class WindowedSplit(Split, Protocol):
    """A split whose frames may have more than 8 bits."""

    window: FrameWindow | None
    """Which values of such frames become 0 to 255."""

    def with_window(self, window: FrameWindow | None) -> Split:
        """Returns the same split whose deep frames become pixels in another way."""
        ...


@runtime_checkable
class TargetSplit(Split, Protocol):
    """A split that knows more of its frames than the class of each pixel."""

    targets: Mapping[str, OutputSpec]
    """What there is to learn beside the classes, as an output that tells it would be described."""

    def with_targets(self, names: Sequence[str]) -> Split:
        """Returns the same split whose samples have these targets."""
        ...


@runtime_checkable
class SlicedSplit(WindowedSplit, Protocol):
    """A split whose frames are slices of volumes."""

    slices: SliceSpec | None
    """How volumes become frames; None leaves it to the network."""

    def with_slices(self, slices: SliceSpec | None) -> Split:
        """Returns the same split whose volumes become frames in another way."""
        ...


@dataclass(frozen=True)
class VolumeCase:
    """Slices that lie side by side in one volume: all of them, or a range that is held out.

    Attributes:
        name: Of the volume, with the range if it is not whole.
        first: The first slice.
        count: How many.
        spacing_mm: Millimeters from one slice, row and column of the volume to the next.
    """

    name: str
    first: int
    count: int
    spacing_mm: tuple[float, float, float]


@dataclass(frozen=True)
class VolumeScoring:
    """How volumes are scored; see `jetseg.evaluation.volumes`.

    Attributes:
        tolerance_mm: Error of a surface that counts as none.
        lesions: Classes whose lesions are counted, each on its own.
    """

    tolerance_mm: float = 3.0
    lesions: tuple[str, ...] = ()


@runtime_checkable
class VolumetricSplit(SlicedSplit, Protocol):
    """A split that can put class maps of its frames back to where their slices lie. Its first class is no organ."""

    scoring: VolumeScoring
    cases: Sequence[VolumeCase]

    def place_of(self, index: int) -> tuple[int, int]:
        """Returns the number of the case that a frame belongs to, and its position in it."""
        ...

    def labels_of(self, case: int) -> npt.NDArray[np.uint8] | None:
        """Returns the class ids of a case, slices x rows x columns of the volume itself; None without labels."""
        ...

    def restore(self, case: int, class_map_hw_u8: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Returns a network's class ids for a frame as those of its slice: rows x columns of the volume itself."""
        ...

    def save(self, case: int, class_ids: npt.NDArray[np.uint8], path: Path) -> None:
        """Writes the class ids of a case, slices x rows x columns, as a NIfTI file in the geometry of its volume.

        Raises:
            StorageError: It could not be written.
        """
        ...


class DatasetKind(Protocol):
    """A kind of dataset, as `jetseg.registry.DATASETS` finds it by name; the class itself is what is registered."""

    form: ClassVar[str]
    """What a spec of it looks like, as in "camvid:DIR"."""

    @staticmethod
    def open_split(spec: str, place: str, split: str) -> Split:
        """Opens one split; no frame is decoded yet.

        Args:
            spec: The whole spec, as in "camvid:/data/camvid"; the split keeps it.
            place: What stands behind the colon; empty if there is none.
            split: Name of the split, as in "val".

        Raises:
            ConfigError: The place is malformed.
            DataError: A folder, the split or a label is missing; the splits that exist are named.
        """
        ...
