"""Drawn CT volumes: an organ with tumors in a body, in noise, with exact labels.

Nothing of it looks like a patient; it tells whether small lesions, surfaces and milliliters are measured and kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from jetseg.data.contract import VolumeScoring
from jetseg.data.files import count_of, require_split
from jetseg.data.volumes.labels import VolumeCode
from jetseg.data.volumes.split import Part, VolumeSplit
from jetseg.data.volumes.volume import Axis, Planes, Volume
from jetseg.input_spec import FrameWindow
from jetseg.postprocess import ClassMap

_Floats = npt.NDArray[np.float64]
CLASSES = ("background", "liver", "tumor")
_COUNTS = {"train": 12, "val": 3, "test": 4}
_FIRST_SEED = {"train": 0, "val": 10_000, "test": 20_000}
_SHAPE = (96, 96, 24)
_SPACING_MM = (2.5, 2.5, 5.0)
_AIR, _FAT, _ORGAN, _TUMOR = -1000, -80, 60, 15
_NOISE = 25.0
"""Standard deviation in Hounsfield units, that of a CT at low dose; a tumor differs by 45."""
_MOST_VOLUMES = 1000


class Phantom:
    """Drawn volumes; see `jetseg.data.contract.DatasetKind`."""

    form = "phantom or phantom:N"

    @staticmethod
    def open_split(spec: str, place: str, split: str) -> VolumeSplit:
        """Opens a split of N volumes; without N, of 12 (train), 3 (val) or 4 (test).

        Raises:
            ConfigError: N is not a number of volumes.
            DataError: There is no such split.
        """
        given = count_of(spec, place, "volumes", _MOST_VOLUMES)
        require_split(split, list(_COUNTS), Path("phantom"))
        count = given or _COUNTS[split]
        parts = [
            DrawnPart(f"{split}{number:03}", Path("phantom"), seed=_FIRST_SEED[split] + number)
            for number in range(count)
        ]
        window, scoring = FrameWindow(low=-110, high=190), VolumeScoring(tolerance_mm=2.5, lesions=("tumor",))
        return VolumeSplit(spec, split, VolumeCode(CLASSES), parts, window=window, scoring=scoring)


@dataclass(frozen=True)
class DrawnPart(Part):
    """A drawn volume, in place of one from a file."""

    seed: int = 0

    def volume(self) -> Volume:
        """Returns its values in Hounsfield units."""
        return Volume(self.name, draw(self.seed)[0], _affine())

    def planes(self, axis: Axis) -> Planes:
        """Returns how its slices lie."""
        return Planes(_SHAPE, _affine(), axis)

    def class_ids(self, axis: Axis, code: VolumeCode) -> ClassMap:
        """Returns its labels."""
        del code
        return self.planes(axis).cut(draw(self.seed)[1])


@lru_cache(maxsize=16)
def draw(seed: int) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.uint8]]:
    """Draws a volume.

    Returns:
        Hounsfield units and class ids, in the order right to left, front to back, feet to head.

    >>> values, ids = draw(0)
    >>> [int(np.median(values[ids == number])) for number in (1, 2)]
    [60, 15]
    """
    rng = np.random.default_rng(seed)
    axes = [np.arange(count) * spacing for count, spacing in zip(_SHAPE, _SPACING_MM, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    middle = np.array([axis.mean() for axis in axes])
    ids = np.zeros(_SHAPE, np.uint8)
    values = np.full(_SHAPE, float(_AIR))
    values[_inside(grid, middle, np.array([105.0, 85.0, 400.0]))] = _FAT
    center = middle + rng.uniform(-12, 12, 3) - (25, 0, 0)
    radii = rng.uniform((45, 40, 38), (60, 55, 50))
    ids[_inside(grid, center, radii)] = 1
    for _ in range(rng.integers(2, 6)):
        direction = rng.normal(size=3)
        place = center + radii * direction / np.linalg.norm(direction) * rng.uniform(0, 0.75)
        ids[_inside(grid, place, np.full(3, rng.uniform(5, 13))) & (ids == 1)] = 2
    values[ids == 1], values[ids == 2] = _ORGAN, _TUMOR
    return np.rint(values + rng.normal(0, _NOISE, _SHAPE)).astype(np.int16), ids


def _inside(
    grid: npt.NDArray[np.float64], center: npt.NDArray[np.float64], radii: npt.NDArray[np.float64]
) -> npt.NDArray[np.bool_]:
    """Returns where an ellipsoid is."""
    return np.asarray((((grid - center) / radii) ** 2).sum(axis=-1) <= 1)


def _affine() -> _Floats:
    return np.diag([-_SPACING_MM[0], -_SPACING_MM[1], _SPACING_MM[2], 1.0])
