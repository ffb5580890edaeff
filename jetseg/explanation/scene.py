"""A labelled frame taken apart: distance from class boundaries, objects by size and distance, places in the picture."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import cv2
import numpy as np
import numpy.typing as npt

from jetseg.postprocess import ClassMap

Mask = npt.NDArray[np.bool_]

BANDS = (0.005, 0.01, 0.02, 0.04)
"""Ends of the bands around class boundaries, in shares of the picture's diagonal; the last band has no end."""
SIZES = ("tiny", "small", "medium", "large")
SIZE_ENDS = (0.0003, 0.001, 0.01)
"""Ends of the sizes of objects, in shares of the picture: 52, 173 and 1728 pixels of 480 x 360."""
DISTANCES = ("far", "midway", "near")
DISTANCE_ENDS = (0.55, 0.7)
"""Where the lowest row of an object lies, as a share of the height: on flat ground, the lower the nearer."""
ROWS, COLUMNS = ("top", "middle", "bottom"), ("left", "center", "right")
_LEAST_OBJECT, _LEAST_PIXELS = 0.00004, 4
"""Share of the picture, and pixels, below which a patch is an error of the label, and not an object."""
_BOUNDARY = 0.02
"""Width of the rim of boundary IoU, in shares of the diagonal (Cheng et al., arXiv:2103.16562)."""


@dataclass(frozen=True)
class Objects:
    """The connected patches of one class.

    Attributes:
        places: int32, H x W: number of the patch that a pixel is in, 0 for none.
        areas: Pixels of each patch; the first entry is for the pixels in none.
        kept: Numbers of the patches that are large enough to count.
        bottoms: Lowest row of each patch.
    """

    places: npt.NDArray[np.int32]
    areas: npt.NDArray[np.int64]
    kept: npt.NDArray[np.int64]
    bottoms: npt.NDArray[np.int64]

    def covered_by(self, mask_hw: Mask) -> npt.NDArray[np.float64]:
        """Returns the share of each kept patch that a mask covers."""
        inside = np.bincount(self.places[mask_hw], minlength=len(self.areas))
        return np.asarray(inside[self.kept] / self.areas[self.kept])


@dataclass(frozen=True)
class Scene:
    """A label, taken apart once for all networks.

    Attributes:
        label_hw_u8: Class ids.
        classes: How many there are.
        ignore_index: Label id that is not scored, or None.
    """

    label_hw_u8: ClassMap
    classes: int
    ignore_index: int | None
    _objects: dict[int, Objects] = field(default_factory=dict)

    @cached_property
    def scored_hw(self) -> Mask:
        """Pixels that count."""
        return np.asarray(self.label_hw_u8 != (256 if self.ignore_index is None else self.ignore_index))

    @cached_property
    def band_hw(self) -> npt.NDArray[np.int64]:
        """Number of the band around class boundaries that each pixel lies in."""
        label, scored = self.label_hw_u8, self.scored_hw
        inner = np.ones(label.shape, np.uint8)
        for first, second in (((slice(1, None),), (slice(None, -1),)), ((..., slice(1, None)), (..., slice(None, -1)))):
            change = (label[first] != label[second]) & scored[first] & scored[second]
            inner[first][change] = inner[second][change] = 0
        if inner.all():
            return np.full(label.shape, len(BANDS))
        distance = cv2.distanceTransform(inner, cv2.DIST_L2, cv2.DIST_MASK_5)
        return np.digitize(distance, np.array(BANDS) * self._diagonal)

    @cached_property
    def region_hw(self) -> npt.NDArray[np.int64]:
        """Number of the ninth of the picture that each pixel lies in, row by row."""
        height, width = self.label_hw_u8.shape
        rows, columns = np.arange(height) * 3 // height, np.arange(width) * 3 // width
        return np.asarray(rows[:, None] * 3 + columns[None])

    def mask(self, number: int) -> Mask:
        """Returns the scored pixels of a class."""
        return np.asarray((self.label_hw_u8 == number) & self.scored_hw)

    def objects(self, number: int) -> Objects:
        """Returns the objects of a class in the label."""
        if number not in self._objects:
            self._objects[number] = self.patches(self.mask(number))
        return self._objects[number]

    def patches(self, mask_hw: Mask) -> Objects:
        """Returns the connected patches of a mask."""
        _, places, stats, _ = cv2.connectedComponentsWithStats(mask_hw.astype(np.uint8), connectivity=8)
        areas = stats[:, cv2.CC_STAT_AREA].astype(np.int64)
        kept = np.flatnonzero(areas >= max(_LEAST_PIXELS, _LEAST_OBJECT * mask_hw.size))
        bottoms = (stats[:, cv2.CC_STAT_TOP] + stats[:, cv2.CC_STAT_HEIGHT]).astype(np.int64)
        return Objects(np.asarray(places, dtype=np.int32), areas, kept[kept > 0], bottoms)

    def size_of(self, objects: Objects) -> npt.NDArray[np.int64]:
        """Returns the size of each kept object, as a position in `SIZES`."""
        return np.asarray(np.digitize(objects.areas[objects.kept] / self.label_hw_u8.size, SIZE_ENDS))

    def distance_of(self, objects: Objects) -> npt.NDArray[np.int64]:
        """Returns the apparent distance of each kept object, as a position in `DISTANCES`."""
        return np.asarray(np.digitize(objects.bottoms[objects.kept] / self.label_hw_u8.shape[0], DISTANCE_ENDS))

    def rim(self, mask_hw: Mask) -> Mask:
        """Returns the pixels of a mask that lie near its contour; the picture's edge belongs to the contour."""
        reach = max(1, round(_BOUNDARY * self._diagonal))
        kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
        core = cv2.erode(mask_hw.astype(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
        return np.asarray(mask_hw & (core == 0))

    @property
    def _diagonal(self) -> float:
        return float(np.hypot(*self.label_hw_u8.shape))


def band_names(height: int, width: int) -> tuple[str, ...]:
    """Names the bands around class boundaries in pixels of a picture.

    >>> band_names(360, 480)
    ('0 to 3 px', '3 to 6 px', '6 to 12 px', '12 to 24 px', 'beyond 24 px')
    """
    ends = [round(share * float(np.hypot(height, width))) for share in BANDS]
    return (*(f"{low} to {high} px" for low, high in zip([0, *ends], ends, strict=False)), f"beyond {ends[-1]} px")
