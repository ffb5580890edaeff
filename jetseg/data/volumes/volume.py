"""A volume with its place in the patient, and its slices as they are looked at."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from jetseg.data.volumes.nibabel_library import orientations
from jetseg.errors import DataError

Axis = Literal["axial", "coronal", "sagittal"]
Values = npt.NDArray[Any]
MAX_VOXELS = 1 << 29
"""A gigabyte of 16-bit values: a whole body at half a millimeter in the plane."""
_DIRECTIONS = {"axial": "SPL", "coronal": "PIL", "sagittal": "LIP"}
"""Where slices, rows and columns go to: left, right, anterior, posterior, superior, inferior."""
_MOST_SHEAR = 0.01
_SAME_PLACE = 0.02


@dataclass(frozen=True)
class Volume:
    """Values on a grid in space.

    Attributes:
        name: Of the file, for messages and frames.
        values: Three axes in the order of the file; integers or floats, as the file has them.
        affine: 4 x 4, from positions on the grid to millimeters to the right, anterior and superior (NIfTI's world).
        space: Where that is, as NIfTI numbers it: 1 the scanner, 2 another image, 3 and 4 atlases.

    Raises:
        DataError: The affine is no grid in space: its axes are not at right angles, or one has no length.
    """

    name: str
    values: Values
    affine: npt.NDArray[np.float64]
    space: int = 1

    def __post_init__(self) -> None:
        lengths = np.linalg.norm(self.affine[:3, :3], axis=0) if np.isfinite(self.affine).all() else np.zeros(3)
        if not (lengths > 0).all():
            raise DataError(f"{self.name} says no size of its voxels.", "Export it anew with its geometry.")
        unit = self.affine[:3, :3] / lengths
        if np.abs(unit.T @ unit - np.eye(3)).max() > _MOST_SHEAR:
            raise DataError(
                f"{self.name} has axes that are not at right angles (a tilted gantry), so its slices are shifted.",
                "Resample it to a straight grid first.",
            )


@dataclass(frozen=True)
class Planes:
    """How the slices of a volume along an axis lie in it.

    Attributes:
        shape: Of the volume, as its file has it.
        affine: Of the volume.
        axis: The plane of a slice; see `jetseg.input_spec.SliceSpec`.

    >>> affine = np.diag([2.0, 2.0, 5.0, 1.0])
    >>> planes = Planes((4, 3, 2), affine, "axial")
    >>> planes.slices_shape, planes.spacing_mm
    ((2, 3, 4), (5.0, 2.0, 2.0))
    >>> values = np.arange(24).reshape(4, 3, 2)
    >>> bool(planes.cut(values)[0, 0, 0] == values[3, 2, 0])  # front right at the top left
    True
    >>> bool((planes.join(planes.cut(values)) == values).all())
    True
    """

    shape: tuple[int, ...]
    affine: npt.NDArray[np.float64]
    axis: Axis

    def cut(self, values: Values) -> Values:
        """Returns a volume as slices x rows x columns, a view."""
        return np.asarray(orientations.apply_orientation(values, self._turn(back=False)))

    def join(self, slices: Values) -> Values:
        """Returns slices x rows x columns in the order of the volume's file; undoes `cut`."""
        return np.ascontiguousarray(orientations.apply_orientation(slices, self._turn(back=True)))

    @cached_property
    def slices_shape(self) -> tuple[int, int, int]:
        """Number of slices, rows and columns."""
        count, rows, columns = self.cut(np.broadcast_to(np.uint8(0), self.shape)).shape
        return count, rows, columns

    @cached_property
    def slices_affine(self) -> npt.NDArray[np.float64]:
        """From slice, row and column to millimeters."""
        turned = self.affine @ orientations.inv_ornt_aff(self._turn(back=False), self.shape)
        return np.asarray(turned, dtype=np.float64)

    @cached_property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Millimeters from one slice, row and column to the next."""
        between, down, along = np.linalg.norm(self.slices_affine[:3, :3], axis=0)
        return float(between), float(down), float(along)

    def _turn(self, *, back: bool) -> Values:
        own = orientations.io_orientation(self.affine)
        wanted = orientations.axcodes2ornt(tuple(_DIRECTIONS[self.axis]))
        return np.asarray(orientations.ornt_transform(*((wanted, own) if back else (own, wanted))))


def check_same_place(image: Volume, labels: Volume) -> None:
    """Refuses labels that are not on the grid of their image, whatever order the axes of either file have.

    Raises:
        DataError: Sizes differ, or a corner lies elsewhere by more than a fiftieth of a voxel.
    """
    planes, other = (Planes(part.values.shape, part.affine, "axial") for part in (image, labels))
    if planes.slices_shape != other.slices_shape:
        raise DataError(
            f"{image.name} has {planes.slices_shape} slices, rows and columns, and its labels {labels.name} have "
            f"{other.slices_shape}.",
            "Resample the labels to the image's grid.",
        )
    corners = (
        np.array([[*corner, 1] for corner in np.ndindex(2, 2, 2)]).T * np.array([*planes.slices_shape, 1])[:, None]
    )
    apart = np.abs((planes.slices_affine - other.slices_affine) @ corners)[:3].max()
    if apart > _SAME_PLACE * min(planes.spacing_mm):
        raise DataError(
            f"{labels.name} lies up to {apart:.3g} mm away from {image.name}, which it should label.",
            "Give the labels of this image, or resample them to its grid.",
        )
