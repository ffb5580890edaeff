"""Slices as frames of one size in millimeters, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from jetseg.data.volumes.volume import Planes
from jetseg.errors import DataError
from jetseg.input_spec import FrameWindow, SliceGrid, SliceSpec
from jetseg.postprocess import ClassMap
from jetseg.preprocess import FrameU8, resize_frame, window_frame


@dataclass(frozen=True)
class Layout:
    """Where a slice lies in its frame: resampled to `rows` x `columns`, in the middle of `height` x `width`."""

    rows: int
    columns: int
    height: int
    width: int

    @property
    def inside(self) -> tuple[slice, slice]:
        """The slice's own part of the frame."""
        top, left = (self.height - self.rows) // 2, (self.width - self.columns) // 2
        return slice(top, top + self.rows), slice(left, left + self.columns)


def layout_of(planes: Planes, grid: SliceGrid | None, name: str) -> Layout:
    """Decides where slices lie in frames.

    Raises:
        DataError: They are larger than the frame.
    """
    _, rows, columns = planes.slices_shape
    if grid is None:
        return Layout(rows, columns, rows, columns)
    _, down, along = planes.spacing_mm
    down, along = (extent / grid.spacing_mm for extent in (rows * down, columns * along))
    found = Layout(max(1, round(down)), max(1, round(along)), grid.height, grid.width)
    if found.rows > found.height or found.columns > found.width:
        raise DataError(
            f"Slices of {name} measure {down * grid.spacing_mm:.0f} x {along * grid.spacing_mm:.0f} mm; frames hold "
            f"{grid.height * grid.spacing_mm:.0f} x {grid.width * grid.spacing_mm:.0f} mm (height, width).",
            "Crop the volume to the patient, or train with a larger `grid` in `slices`.",
        )
    return found


def frame_of(
    slices: npt.NDArray[Any], index: int, spec: SliceSpec, window: FrameWindow | None, layout: Layout, name: str
) -> FrameU8:
    """Makes a frame of one slice, with its neighbors as channels if the settings say so.

    Args:
        slices: Slices x rows x columns of any numbers.
        index: The slice.
        spec: Says whether neighbors are seen.
        window: Values that become 0 and 255; may be None for 8 bits.
        layout: Where the slice lies in the frame; what is around it is black.
        name: For messages.
    """
    around = range(index - spec.neighbors, index + spec.neighbors + 1)
    chosen = [min(max(number, 0), len(slices) - 1) for number in around]
    planes = [_pixels(slices[number], window, name) for number in (chosen if len(chosen) == 3 else [index])]
    frame = np.zeros((layout.height, layout.width, 3), np.uint8)
    together = np.stack(planes * (3 // len(planes)), axis=2)
    frame[layout.inside] = resize_frame(np.ascontiguousarray(together), layout.rows, layout.columns)
    return frame


def _pixels(plane: npt.NDArray[Any], window: FrameWindow | None, name: str) -> npt.NDArray[np.uint8]:
    if plane.dtype == np.uint8 and window is None:
        return plane
    return window_frame(plane, window, name)[..., 0]


def lay_out(label_hw_u8: ClassMap, layout: Layout, around: int) -> ClassMap:
    """Lays the class ids of a slice into its frame; around it is the id `around`."""
    frame = np.full((layout.height, layout.width), around, np.uint8)
    frame[layout.inside] = _nearest(label_hw_u8, layout.rows, layout.columns)
    return frame


def take_out(class_map_hw_u8: ClassMap, layout: Layout, rows: int, columns: int) -> ClassMap:
    """Takes the class ids of a slice out of those of its frame, whatever size they have; undoes `lay_out`.

    >>> layout = Layout(rows=4, columns=2, height=6, width=6)
    >>> ids = np.array([[1, 2], [3, 4]], np.uint8)
    >>> take_out(lay_out(ids, layout, 0), layout, 2, 2).tolist()
    [[1, 2], [3, 4]]
    """
    whole = _nearest(class_map_hw_u8, layout.height, layout.width)
    return _nearest(np.ascontiguousarray(whole[layout.inside]), rows, columns)


def _nearest(ids_hw_u8: ClassMap, height: int, width: int) -> ClassMap:
    """Resizes by the nearest center, which OpenCV's customary way misses by half a pixel."""
    if ids_hw_u8.shape == (height, width):
        return ids_hw_u8
    resized = cv2.resize(ids_hw_u8, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(resized, dtype=np.uint8)
