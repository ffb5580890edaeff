"""The moving camera: where a point of the world appears, and which piece of ground a pixel sees."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from jetseg.data.synthetic.style import Layout, Optics

HEIGHT, WIDTH = 192, 320
NEAREST_M = 0.3
"""Points closer than this are moved here, which happens beyond the picture's edge only."""
_HORIZON_ROW = 86.0
_FARTHEST_COORDINATE = 4000.0

Points = npt.NDArray[np.float64]
Plane = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Camera:
    """A pinhole camera at one instant. World: right, up, forward in meters; angles in radians.

    Attributes:
        focal_px: Focal length.
        position: Right, up (above the road), forward.
        yaw: Positive looks to the right.
        pitch: Positive looks down.
        roll: Positive turns the picture's right side down.
    """

    focal_px: float
    position: tuple[float, float, float]
    yaw: float
    pitch: float
    roll: float

    def view(self, world: Points) -> Points:
        """Turns world points (N x 3) into camera coordinates: right, up, depth."""
        return np.asarray((world - np.asarray(self.position)) @ self._rotation.T, dtype=np.float64)

    def project(self, viewed: Points) -> Points:
        """Turns camera coordinates (N x 3) into pixels (N x 2: column, row)."""
        scale = self.focal_px / np.maximum(viewed[:, 2:], NEAREST_M)
        pixels = viewed[:, :2] * scale * (1, -1) + (WIDTH / 2, _HORIZON_ROW)
        return np.minimum(np.maximum(pixels, -_FARTHEST_COORDINATE), _FARTHEST_COORDINATE)

    def spot(self, right: float, up: float, ahead: float) -> tuple[float, float, float]:
        """Projects one world point: column, row and depth. Column and row are of no use unless depth > 0."""
        x, y, z = right - self.position[0], up - self.position[1], ahead - self.position[2]
        (a, b, c), (d, e, f), (g, h, i) = self._rows
        depth = g * x + h * y + i * z
        scale = self.focal_px / max(depth, NEAREST_M)
        return (
            WIDTH / 2 + (a * x + b * y + c * z) * scale,
            _HORIZON_ROW - (d * x + e * y + f * z) * scale,
            depth,
        )

    @cached_property
    def _rotation(self) -> Points:
        """World to camera: yaw first, then pitch, then roll."""
        sin, cos = math.sin(self.yaw), math.cos(self.yaw)
        yaw = np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])
        sin, cos = math.sin(self.pitch), math.cos(self.pitch)
        pitch = np.array([[1, 0, 0], [0, cos, sin], [0, -sin, cos]])
        sin, cos = math.sin(self.roll), math.cos(self.roll)
        roll = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
        return np.asarray(roll @ pitch @ yaw, dtype=np.float64)

    @cached_property
    def _rows(self) -> list[list[float]]:
        rows: list[list[float]] = self._rotation.tolist()
        return rows

    @property
    def horizon_row(self) -> float:
        """Row of the horizon in the middle of the picture."""
        return _HORIZON_ROW - self.focal_px * float(np.tan(self.pitch))

    def ground(self, top: int) -> tuple[Plane, Plane, Plane]:
        """Finds the ground that the pixels below a row see.

        Returns:
            Right, forward and depth in meters, each float32, (HEIGHT - top) x WIDTH; depth is infinite where
            a pixel sees no ground.
        """
        column = ((np.arange(WIDTH, dtype=np.float32) - WIDTH / 2) / self.focal_px).astype(np.float32)
        row = ((_HORIZON_ROW - np.arange(top, HEIGHT, dtype=np.float32)[:, None]) / self.focal_px).astype(np.float32)
        sin, cos = np.float32(np.sin(self.roll)), np.float32(np.cos(self.roll))
        right, up = column * cos + row * sin, row * cos - column * sin
        sin, cos = np.float32(np.sin(self.pitch)), np.float32(np.cos(self.pitch))
        falls = sin - up * cos
        seen = falls > 1e-3
        reach = np.float32(self.position[1]) / np.where(seen, falls, np.float32(1e-3))
        right, ahead = right * reach, (up * sin + cos) * reach
        sin, cos = np.float32(np.sin(self.yaw)), np.float32(np.cos(self.yaw))
        world_right = np.float32(self.position[0]) + right * cos + ahead * sin
        world_ahead = np.float32(self.position[2]) - right * sin + ahead * cos
        return world_right, world_ahead, np.where(seen, ahead, np.float32(np.inf))

    def depth_on(self, viewed: Points, box: tuple[int, int, int, int]) -> Plane:
        """Returns how far away the plane through some points is, at each pixel of a part of the picture.

        Args:
            viewed: Points of it in camera coordinates, N x 3; the best plane, if they are not quite on one.
            box: Left, top, right, bottom.

        Returns:
            float32, rows x columns, within the depths of the points.
        """
        middle = viewed.mean(axis=0)
        normal = np.linalg.svd(viewed - middle)[2][2]
        left, top, right, bottom = box
        columns = (np.arange(left, right) - WIDTH / 2) / self.focal_px
        rows = (_HORIZON_ROW - np.arange(top, bottom)[:, None]) / self.focal_px
        slant = normal[0] * columns + normal[1] * rows + normal[2]
        with np.errstate(divide="ignore", invalid="ignore"):
            depth = float(normal @ middle) / slant
        within = np.nan_to_num(depth, nan=float(middle[2])).clip(viewed[:, 2].min(), viewed[:, 2].max())
        return np.asarray(within, dtype=np.float32)


def camera_at(layout: Layout, optics: Optics, along: float, across: float, seconds: float) -> Camera:
    """Puts the camera into the car, which sways, nods and rolls a little as it drives."""
    sway = 0.12 * np.sin(0.9 * seconds) + 0.05 * np.sin(2.3 * seconds)
    nod = 0.004 * np.sin(5.1 * seconds) + 0.003 * np.sin(3.2 * seconds + 1)
    return Camera(
        focal_px=optics.focal_px,
        position=(layout.center_at(along) + across + float(sway), optics.height_m, along),
        yaw=float(np.arctan(layout.slope(along)) + 0.008 * np.sin(0.7 * seconds + 2)),
        pitch=float(optics.pitch + nod),
        roll=float(0.004 * np.sin(1.7 * seconds)),
    )
