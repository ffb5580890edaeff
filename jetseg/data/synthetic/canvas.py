"""The picture and its labels, always painted together by the same shapes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from jetseg.data.synthetic.camera import HEIGHT, WIDTH, Camera, Plane, Points
from jetseg.data.synthetic.style import Bgr, Light

_SUBPIXEL_BITS = 4
Picture = npt.NDArray[np.uint8]
Place = float | Points
"""Depth in meters of what faces the camera, or points of a plane, in camera coordinates (N x 3)."""


class Surface(NamedTuple):
    """Factors of a texture's blue, green and red, and what the air adds to them."""

    own: list[float]
    air: list[float]


class Canvas:
    """Paints opaque shapes into a picture and its labels, both 192 x 320.

    Args:
        camera: Where the picture is taken from.
        light: Sun and air.
        picture: Starting picture, uint8 BGR; painted over.
        label: Starting labels, uint8; painted over.
        depth: Starting depth in meters, float32; painted over. None where depth is not asked for.
    """

    def __init__(
        self, camera: Camera, light: Light, picture: Picture, label: Picture, depth: Plane | None = None
    ) -> None:
        self.camera = camera
        self.depth = depth
        self.light = light
        self.picture = picture
        self.label = label
        self._air: list[float] = light.horizon.tolist()
        self._mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)

    def seen_color(self, color: Bgr, factor: float, depth_m: float) -> tuple[float, float, float]:
        """Returns a surface's color under a light factor, through the air in front of it."""
        air = self.light.air(depth_m)
        own = (1 - air) * factor
        blue, green, red = color.tolist()
        far_blue, far_green, far_red = self._air
        return own * blue + air * far_blue, own * green + air * far_green, own * red + air * far_red

    def fill(
        self,
        corners: npt.NDArray[np.int32],
        color: tuple[float, float, float],
        class_id: int | None,
        place: Place,
        *,
        convex: bool = True,
    ) -> None:
        """Paints a polygon.

        Args:
            corners: Column and row as `fixed_point` gives them, N x 2.
            color: BGR.
            class_id: Label; None for a detail inside something whose label is there already.
            place: Where it is.
            convex: Whether it is.
        """
        paint = cv2.fillConvexPoly if convex else _fill_any
        paint(self.picture, corners, color, cv2.LINE_8, _SUBPIXEL_BITS)
        if class_id is not None:
            paint(self.label, corners, (class_id,), cv2.LINE_8, _SUBPIXEL_BITS)
            if self.depth is not None:
                pixels = corners / (1 << _SUBPIXEL_BITS)
                box = _clipped_box(*pixels.min(axis=0), *pixels.max(axis=0))
                if box is not None:
                    left, top, right, bottom = box
                    mask = self._mask[top:bottom, left:right]
                    mask[:] = 0
                    paint(self._mask, corners, (1,), cv2.LINE_8, _SUBPIXEL_BITS)
                    self._put_at(place, mask, box)

    def surface(self, color: Bgr, factor: float, depth_m: float) -> Surface:
        """Returns how a textured surface in this color looks under a light factor, from this distance."""
        air = self.light.air(depth_m)
        own = (1 - air) * factor
        return Surface([own * part for part in color.tolist()], [air * part for part in self._air])

    def mapped(
        self,
        texture: Picture,
        corners: Points,
        pixels: Points,
        surface: Surface,
        class_id: int,
        place: Place,
    ) -> None:
        """Paints a texture seen in perspective.

        Args:
            texture: uint8 BGR.
            corners: Points of the texture (column, row), 4 x 2.
            pixels: Where they appear, 4 x 2; the polygon must be convex.
            surface: How it looks; its color must be gray.
            class_id: Label.
            place: Where it is.
        """
        columns, rows = pixels.T.tolist()
        box = _clipped_box(min(columns), min(rows), max(columns), max(rows))
        if box is None:
            return
        left, top, right, bottom = box
        moved = (pixels - (left, top)).astype(np.float32)
        transform = cv2.getPerspectiveTransform(corners.astype(np.float32), moved)
        size = (right - left, bottom - top)
        patch = cv2.warpPerspective(texture, transform, size, borderMode=cv2.BORDER_REPLICATE)
        mask = self._mask[top:bottom, left:right]
        mask[:] = 0
        cv2.fillConvexPoly(self._mask, fixed_point(pixels), (1,), cv2.LINE_8, _SUBPIXEL_BITS)
        lit = cv2.convertScaleAbs(patch, alpha=surface.own[0])
        self._paste(_u8(cv2.add(lit, np.array([*surface.air, 0.0]))), mask, box, class_id)
        self._put_at(place, mask, box)

    def sprite(
        self,
        shade_and_shape: tuple[Picture, Picture],
        surface: Surface,
        box: tuple[float, float, float, float],
        class_id: int,
        place: Place,
    ) -> None:
        """Paints an upright picture, scaled to a box.

        Args:
            shade_and_shape: Brightness and mask (0 or 1), uint8, of equal size.
            surface: How it looks.
            box: Left, top, right, bottom in pixels.
            class_id: Label.
            place: Where it is.
        """
        shade, shape = shade_and_shape
        left, top, right, bottom = box
        clipped = _clipped_box(*box)
        if clipped is None:
            return
        scale_x, scale_y = (right - left) / shade.shape[1], (bottom - top) / shade.shape[0]
        transform = np.array([[scale_x, 0, left - clipped[0]], [0, scale_y, top - clipped[1]]])
        size = (clipped[2] - clipped[0], clipped[3] - clipped[1])
        patch = cv2.warpAffine(shade, transform, size, borderMode=cv2.BORDER_REPLICATE)
        mask = _u8(cv2.warpAffine(shape, transform, size, flags=cv2.INTER_NEAREST))
        planes = [cv2.convertScaleAbs(patch, alpha=own, beta=air) for own, air in zip(*surface, strict=True)]
        self._paste(_u8(cv2.merge(planes)), mask, clipped, class_id)
        self._put_at(place, mask, clipped)

    def _put_at(self, place: Place, mask: Picture, box: tuple[int, int, int, int]) -> None:
        """Notes how far away what was painted is."""
        if self.depth is None:
            return
        left, top, right, bottom = box
        depth = np.float32(place) if isinstance(place, float) else self.camera.depth_on(place, box)
        np.copyto(self.depth[top:bottom, left:right], depth, where=mask.view(np.bool_))

    def _paste(
        self,
        patch: Picture,
        mask: Picture,
        box: tuple[int, int, int, int],
        class_id: int,
    ) -> None:
        left, top, right, bottom = box
        cv2.copyTo(patch, mask, self.picture[top:bottom, left:right])
        np.copyto(self.label[top:bottom, left:right], np.uint8(class_id), where=mask.view(np.bool_))


def fixed_point(pixels: Points) -> npt.NDArray[np.int32]:
    """Turns pixel coordinates into whole sixteenths of a pixel, as OpenCV draws them."""
    return np.rint(pixels * (1 << _SUBPIXEL_BITS)).astype(np.int32)


def _fill_any(picture: Picture, corners: npt.NDArray[np.int32], color: Sequence[float], line: int, shift: int) -> None:
    cv2.fillPoly(picture, [corners], color, line, shift)


def _clipped_box(left: float, top: float, right: float, bottom: float) -> tuple[int, int, int, int] | None:
    """Returns left, top, right, bottom of what of a box is in the picture, None if nothing."""
    low_x, low_y = max(math.floor(left), 0), max(math.floor(top), 0)
    high_x, high_y = min(math.ceil(right) + 1, WIDTH), min(math.ceil(bottom) + 1, HEIGHT)
    return (low_x, low_y, high_x, high_y) if low_x < high_x and low_y < high_y else None


def _u8(picture: npt.NDArray[Any]) -> Picture:
    return np.asarray(picture, dtype=np.uint8)
