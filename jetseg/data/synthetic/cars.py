"""Paints cars: small polyhedra, of which the faces turned to the camera are drawn."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from jetseg.data.synthetic.camera import Points
from jetseg.data.synthetic.canvas import Canvas, fixed_point
from jetseg.data.synthetic.classes import Class
from jetseg.data.synthetic.style import Layout
from jetseg.data.synthetic.things import Car

Material = Literal["paint", "glass", "rubber", "rim", "headlamp", "taillamp", "plate"]
Corner = tuple[float, float, float]
"""Part of the length from the rear (0) to the front (1), of the height, and of the half width (-1 left)."""

_DETAIL_SIGHT_M = 30.0
_COLORS = {
    "glass": np.array([75.0, 68, 60]),
    "rubber": np.full(3, 28.0),
    "rim": np.full(3, 120.0),
    "headlamp": np.array([190.0, 225, 235]),
    "taillamp": np.array([40.0, 30, 190]),
    "plate": np.array([200.0, 215, 220]),
}


@dataclass(frozen=True)
class _Shape:
    """A kind of car.

    Attributes:
        outline: Its side view, from the rear bumper over the roof to the front bumper, as corners.
        glass_strips: Which strips across the outline, from point to point, are glass.
        side_glass: Corners of the side window, part of length and height.
        length: Typical length in meters.
        height: Typical height in meters.
        wheel: Radius of the wheels in meters.
    """

    outline: tuple[Corner, ...]
    glass_strips: tuple[int, ...]
    side_glass: tuple[tuple[float, float], ...]
    length: float
    height: float
    wheel: float


_SHAPES = (
    _Shape(
        outline=(
            *((0.0, 0.16, 1.0), (0.0, 0.58, 0.98), (0.06, 0.98, 0.78), (0.5, 1.0, 0.78)),
            *((0.72, 0.6, 0.92), (0.98, 0.5, 0.95), (1.0, 0.16, 1.0)),
        ),
        glass_strips=(1, 3),
        side_glass=((0.1, 0.63), (0.14, 0.92), (0.5, 0.93), (0.66, 0.62)),
        length=4.0,
        height=1.55,
        wheel=0.33,
    ),
    _Shape(
        outline=(
            *((0.0, 0.18, 1.0), (0.0, 0.62, 0.96), (0.2, 0.66, 0.92), (0.33, 1.0, 0.76)),
            *((0.56, 1.0, 0.76), (0.72, 0.64, 0.92), (1.0, 0.5, 0.95), (1.0, 0.18, 1.0)),
        ),
        glass_strips=(2, 4),
        side_glass=((0.27, 0.67), (0.36, 0.93), (0.55, 0.93), (0.67, 0.66)),
        length=4.6,
        height=1.45,
        wheel=0.33,
    ),
    _Shape(
        outline=(
            *((0.0, 0.14, 1.0), (0.0, 0.6, 0.98), (0.02, 1.0, 0.88), (0.72, 1.0, 0.88)),
            *((0.88, 0.58, 0.95), (1.0, 0.45, 0.95), (1.0, 0.14, 1.0)),
        ),
        glass_strips=(1, 3),
        side_glass=((0.45, 0.62), (0.45, 0.9), (0.7, 0.9), (0.82, 0.6)),
        length=5.0,
        height=2.1,
        wheel=0.34,
    ),
    _Shape(
        outline=(
            *((0.0, 0.16, 1.0), (0.0, 1.0, 1.0), (0.72, 1.0, 1.0), (0.74, 0.78, 0.95)),
            *((0.93, 0.76, 0.9), (1.0, 0.42, 0.95), (1.0, 0.13, 0.95)),
        ),
        glass_strips=(4,),
        side_glass=((0.78, 0.5), (0.78, 0.72), (0.92, 0.72), (0.97, 0.5)),
        length=6.8,
        height=2.9,
        wheel=0.42,
    ),
)


@dataclass(frozen=True)
class _Patch:
    """A polygon in one material: points `first` to `last` of the car's points."""

    first: int
    last: int
    material: Material

    @property
    def middle(self) -> int:
        """The point opposite to the first one."""
        return (self.first + self.last) // 2


@dataclass(frozen=True)
class _Face:
    """A patch of the body with the details on it. Seen from outside, its points run clockwise."""

    body: _Patch
    details: tuple[_Patch, ...]
    normal: Corner
    """Right, up, forward of a car that drives forward."""
    convex: bool


@dataclass(frozen=True)
class _Model:
    """All points of a shape (N x 3, as `Corner`) and its faces; the first four points are the underside."""

    points: Points
    faces: tuple[_Face, ...]


def paint_car(canvas: Canvas, layout: Layout, car: Car) -> None:
    """Paints the faces of a car that are turned to the camera, from far to near."""
    model = _model(car.shape)
    viewed = canvas.camera.view(_in_world(layout, car, model.points))
    pixels = canvas.camera.project(viewed)
    depths: list[float] = viewed[:, 2].tolist()
    if max(depths[:4]) < 1.5 or pixels[:, 0].max() < 0 or pixels[:, 0].min() > canvas.label.shape[1]:
        return
    depth = (depths[0] + depths[2]) / 2
    exact, spots = fixed_point(pixels), pixels.tolist()
    canvas.fill(exact[:4], canvas.seen_color(_COLORS["rubber"], 0.5, depth), Class.CAR, viewed[:4])
    seen = [face for face in model.faces if _faces_camera(spots, face.body)]
    for face in sorted(seen, key=lambda face: -depths[face.body.first] - depths[face.body.middle]):
        right, up, forward = face.normal
        factor = canvas.light.on(right * car.heading, up, forward * car.heading)
        body = slice(face.body.first, face.body.last)
        color = canvas.seen_color(car.paint, factor, depth)
        canvas.fill(exact[body], color, Class.CAR, viewed[body], convex=face.convex)
        for patch in face.details if depth < _DETAIL_SIGHT_M else ():
            lit = 1.0 if patch.material.endswith("lamp") else factor
            color = canvas.seen_color(_COLORS[patch.material], lit, depth)
            canvas.fill(exact[patch.first : patch.last], color, None, depth)


def _in_world(layout: Layout, car: Car, points: Points) -> Points:
    ahead = (points[:, 0] - 0.5) * (car.length * car.heading)
    middle = layout.center_at(car.along) + car.across
    across = middle + layout.slope(car.along) * ahead + points[:, 2] * (car.width / 2 * car.heading)
    return np.stack([across, points[:, 1] * car.height, car.along + ahead], axis=1)


def _faces_camera(spots: list[list[float]], patch: _Patch) -> bool:
    """Tells whether a patch runs clockwise on the screen, by the cross product of its two diagonals."""
    count = patch.last - patch.first
    a, c = spots[patch.first], spots[patch.middle]
    b, d = spots[patch.first + count // 4], spots[patch.first + 3 * count // 4]
    return (c[0] - a[0]) * (d[1] - b[1]) > (c[1] - a[1]) * (d[0] - b[0])


@lru_cache(maxsize=len(_SHAPES))
def _model(shape: int) -> _Model:
    kind = _SHAPES[shape]
    outline = np.array(kind.outline)
    mirrored = outline * (1, 1, -1)
    last = len(outline) - 1
    underside = np.array([mirrored[0], mirrored[last], outline[last], outline[0]])
    parts: list[Points] = [underside * (1, 0.7, 1)]
    faces = []
    for strip in range(last):
        corners = np.array([mirrored[strip], mirrored[strip + 1], outline[strip + 1], outline[strip]])
        run = (outline[strip + 1, 0] - outline[strip, 0]) * kind.length
        rise = (outline[strip + 1, 1] - outline[strip, 1]) * kind.height
        size = float(np.hypot(run, rise))
        details = _strip_details(corners, strip, last, kind)
        faces.append(_add_face(parts, corners, details, (0.0, run / size, -rise / size), convex=True))
    for side in (-1, 1):
        points = outline if side > 0 else mirrored[::-1]
        faces.append(_add_face(parts, points, _side_details(kind, side), (float(side), 0.0, 0.0), convex=False))
    return _Model(np.concatenate(parts), tuple(faces))


def _add_face(
    parts: list[Points],
    points: Points,
    details: Iterable[tuple[Material, Points]],
    normal: Corner,
    *,
    convex: bool,
) -> _Face:
    """Appends a face's points to those of the car."""

    def patch(material: Material, corners: Points) -> _Patch:
        first = sum(len(part) for part in parts)
        parts.append(corners)
        return _Patch(first, first + len(corners), material)

    body = patch("paint", points)
    return _Face(body, tuple(patch(material, corners) for material, corners in details), normal, convex)


def _strip_details(corners: Points, strip: int, last: int, kind: _Shape) -> list[tuple[Material, Points]]:
    """Returns window, lamps and number plate of a strip across the car."""
    if strip in kind.glass_strips:
        middle = corners.mean(axis=0)
        return [("glass", middle + 0.84 * (corners - middle))]
    if strip not in {0, last - 1}:
        return []
    left_low, left_high, right_high, right_low = corners if strip == 0 else corners[[1, 0, 3, 2]]
    lamp: Material = "taillamp" if strip == 0 else "headlamp"

    def window(begin: float, end: float, low: float, high: float) -> Points:
        return np.array(
            [
                (1 - x) * ((1 - y) * left_low + y * left_high) + x * ((1 - y) * right_low + y * right_high)
                for x, y in ((begin, low), (begin, high), (end, high), (end, low))
            ]
        )

    return [
        (lamp, window(0.03, 0.2, 0.6, 0.9)),
        (lamp, window(0.8, 0.97, 0.6, 0.9)),
        ("plate", window(0.36, 0.64, 0.25, 0.45)),
    ]


def _side_details(kind: _Shape, side: int) -> list[tuple[Material, Points]]:
    """Returns window and wheels of a side."""
    details: list[tuple[Material, Points]] = []
    turn = np.linspace(0, 2 * np.pi, 11)[:-1]
    circle = np.stack([np.cos(turn) / kind.length, np.sin(turn) / kind.height, np.zeros(10)], axis=1) * kind.wheel
    for where in (0.19, 0.8):
        hub = np.array([where, kind.wheel / kind.height, side])
        details += [("rubber", hub + circle), ("rim", hub + 0.55 * circle)]
    glass = np.array([(x, y, 0.87 * side) for x, y in kind.side_glass])
    return [("glass", glass), *details]
