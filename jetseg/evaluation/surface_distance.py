"""Distances between the surfaces of two masks in millimeters, from exact distance transforms.

HD95 and normalized surface Dice as Maier-Hein, Reinke et al. define them ("Metrics reloaded", Nature Methods 2024;
the latter after Nikolov et al., arXiv:1809.04430). The surface of a mask are its voxels with a neighbor outside; of a
single slice, with one in its plane.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jetseg.errors import MissingDependencyError

try:
    from scipy import ndimage
except ImportError as error:  # pragma: no cover - depends on the machine
    raise MissingDependencyError("scipy", "medical", "measures distances between surfaces") from error

_ROUNDING_MM = 1e-3
"""Files state spacings in float32: a voxel that lies 3.0000001 mm away is within 3 mm."""
Mask = npt.NDArray[np.bool_]
Spacing = tuple[float, float, float]


@dataclass(frozen=True)
class SurfaceDistances:
    """Millimeters from each voxel of a surface to the nearest of the other; neither is empty."""

    there: npt.NDArray[np.float64]
    back: npt.NDArray[np.float64]

    @property
    def hd95_mm(self) -> float:
        """95th percentile, the larger of both directions."""
        return float(max(np.percentile(self.there, 95), np.percentile(self.back, 95)))

    def nsd(self, tolerance_mm: float) -> float:
        """Returns the part of both surfaces that lies within the tolerance of the other, in percent."""
        limit = tolerance_mm + _ROUNDING_MM
        near = (self.there <= limit).sum() + (self.back <= limit).sum()
        return float(100 * near / (len(self.there) + len(self.back)))


def surface_distances(one: Mask, other: Mask, spacing_mm: Spacing) -> SurfaceDistances:
    """Measures the distances between two surfaces.

    Args:
        one: Slices x rows x columns, with a voxel at least.
        other: Likewise.
        spacing_mm: From one slice, row and column to the next.

    >>> one, other = (np.zeros((1, 1, 9), bool) for _ in range(2))
    >>> one[..., 0], other[..., 4] = True, True
    >>> surface_distances(one, other, (1.0, 1.0, 0.5)).hd95_mm
    2.0
    """
    box = _box(one | other)
    around = _neighbors(one.shape)
    surfaces = [mask[box] & ~ndimage.binary_erosion(mask[box], around) for mask in (one, other)]
    first, second = surfaces
    away = [ndimage.distance_transform_edt(~surface, sampling=spacing_mm) for surface in surfaces]
    return SurfaceDistances(there=away[1][first], back=away[0][second])


def count_lesions(truth: Mask, answer: Mask) -> tuple[int, int, int]:
    """Counts lesions that an answer touches, lesions that it does not, and parts of the answer that touch none.

    Voxels that share a corner are of one lesion.
    """
    corners = np.ones((3, 3, 3))
    lesions, count = ndimage.label(truth, corners)
    parts, answers = ndimage.label(answer, corners)
    found = len(np.unique(lesions[answer & truth]))
    right = len(np.unique(parts[answer & truth]))
    return found, count - found, answers - right


def _neighbors(shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Returns a voxel and those that share a face with it, along the axes that have more than one voxel."""
    around = ndimage.generate_binary_structure(len(shape), 1)
    for axis, length in enumerate(shape):
        if length == 1:
            around[(slice(None),) * axis + ([0, 2],)] = False
    return np.asarray(around)


def _box(mask: Mask) -> tuple[slice, ...]:
    """Returns the box around a mask, so that only this is looked at."""
    found: tuple[slice, ...] = ndimage.find_objects(mask.astype(np.uint8))[0]
    return found
