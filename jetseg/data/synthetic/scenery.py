"""Paints what stands still: houses, trees, poles and signs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from jetseg.data.synthetic.camera import WIDTH, Points
from jetseg.data.synthetic.canvas import Canvas, fixed_point
from jetseg.data.synthetic.classes import Class
from jetseg.data.synthetic.style import Layout
from jetseg.data.synthetic.textures import crown
from jetseg.data.synthetic.things import Building, Pole, Sign, Tree

_NEAR_M = 0.8
_BARK = np.array([45.0, 60, 75])


def paint_building(canvas: Canvas, layout: Layout, house: Building) -> None:
    """Paints roof, end wall and front of a house, as far as they are ahead of the camera."""
    side = 1 if house.across > 0 else -1
    near, far = layout.center_at(house.start), layout.center_at(house.end)
    front, back = house.across, house.across + side * house.depth
    top, peak = house.height, house.height + house.roof
    middle = (front + back) / 2
    if house.roof:
        _paint_wall(
            canvas,
            [
                (near + front, top, house.start),
                (near + middle, peak, house.start),
                (far + middle, peak, house.end),
                (far + front, top, house.end),
            ],
            house.tiles,
            canvas.light.on(-0.5 * side, 0.86, 0),
        )
    end = [(near + front, top, house.start), (near + back, top, house.start)]
    end += [(near + back, 0.0, house.start), (near + front, 0.0, house.start)]
    if house.roof:
        end.insert(1, (near + middle, peak, house.start))
    _paint_wall(canvas, end, house.wall, canvas.light.on(0, 0, -1))
    _paint_front(canvas, house, side, (near, far))


def paint_tree(canvas: Canvas, layout: Layout, tree: Tree) -> None:
    """Paints a trunk and a crown that always faces the camera."""
    x = layout.center_at(tree.along) + tree.across
    column, bottom, depth = canvas.camera.spot(x, 0.0, tree.along)
    if depth < 1.5:
        return
    scale = canvas.camera.focal_px / depth
    half = tree.width * scale / 2
    if column + half < 0 or column - half > WIDTH:
        return
    top = bottom - tree.height * scale
    crown_bottom = bottom - 0.75 * tree.trunk * scale
    if tree.trunk:
        thick = max(0.11 * scale, 1.0)
        stem = _upright((column, crown_bottom - half / 2), (column, bottom), -thick, thick)
        bark = canvas.seen_color(_BARK, canvas.light.on(0, 0.3, -0.7), depth)
        canvas.fill(stem, bark, Class.VEGETATION, depth)
    canvas.sprite(
        crown(tree.kind),
        canvas.surface(tree.leaves / 128, canvas.light.on(0, 0.7, -0.5), depth),
        (column - half, top, column + half, crown_bottom),
        Class.VEGETATION,
        depth,
    )


def paint_pole(canvas: Canvas, layout: Layout, pole: Pole) -> None:
    """Paints a post, the lamp's arm and the sign."""
    x = layout.center_at(pole.along) + pole.across
    column, bottom, depth = canvas.camera.spot(x, 0.0, pole.along)
    if depth < 1.0:
        return
    top_column, top, _ = canvas.camera.spot(x, pole.height, pole.along)
    scale = canvas.camera.focal_px / depth
    half = pole.width * scale / 2
    if max(column, top_column) + 3 * scale < 0 or min(column, top_column) - 3 * scale > WIDTH:
        return
    lit = canvas.seen_color(pole.color, canvas.light.on(-0.6, 0.2, -0.7), depth)
    dim = canvas.seen_color(pole.color, 0.75 * canvas.light.on(0.6, 0.2, -0.7), depth)
    canvas.fill(_upright((top_column, top), (column, bottom), -half, half), lit, Class.POLE, depth)
    canvas.fill(_upright((top_column, top), (column, bottom), half * 0.2, half), dim, None, depth)
    if pole.arm:
        tip, thick = (top_column + pole.arm * scale, top - 2 * half), max(half, 1.0)
        arm = [(top_column, top - thick), (tip[0], tip[1] - thick), (tip[0], tip[1] + thick)]
        canvas.fill(fixed_point(np.array([*arm, (top_column, top + thick)])), lit, Class.POLE, depth)
    if pole.sign is not None:
        part = min(1.0, 2.9 / pole.height)
        center = np.array([column + (top_column - column) * part, bottom + (top - bottom) * part])
        _paint_sign(canvas, pole.sign, center, depth)


def _paint_wall(canvas: Canvas, world: Sequence[Sequence[float]], color: Points, factor: float) -> None:
    """Paints a plain polygon unless part of it is beside or behind the camera."""
    spots = [canvas.camera.spot(*point) for point in world]
    columns = [spot[0] for spot in spots]
    if min(spot[2] for spot in spots) > _NEAR_M and max(columns) > 0 and min(columns) < WIDTH:
        corners = fixed_point(np.array(spots)[:, :2].clip(-4000, 4000))
        place = canvas.camera.view(np.array(world))
        canvas.fill(corners, canvas.seen_color(color, factor, spots[0][2]), Class.BUILDING, place)


def _paint_front(canvas: Canvas, house: Building, side: int, centers: tuple[float, float]) -> None:
    """Paints the front, cut off where it passes the camera."""
    bottom = np.array([[centers[0] + house.across, 0, house.start], [centers[1] + house.across, 0, house.end]])
    depths = canvas.camera.view(bottom)[:, 2].tolist()
    if depths[1] < _NEAR_M + 0.5:
        return
    cut = max(0.0, (_NEAR_M - depths[0]) / (depths[1] - depths[0]))
    start = bottom[0] + cut * (bottom[1] - bottom[0])
    height = np.array([0, house.height, 0])
    world = np.array([start + height, bottom[1] + height, bottom[1], start])
    rows, columns = house.front.shape[:2]
    # the texture's left end is the one that is left when one looks at the front from the road
    ends = (cut, 1.0, 1.0, cut) if side > 0 else (1 - cut, 0.0, 0.0, 1 - cut)
    corners = np.array([[end * columns, row] for end, row in zip(ends, (0, 0, rows, rows), strict=True)])
    middle = (max(depths[0], 1.0) + depths[1]) / 2
    light = canvas.surface(np.ones(3), canvas.light.on(-side, 0, 0), middle)
    viewed = canvas.camera.view(world)
    canvas.mapped(house.front, corners, canvas.camera.project(viewed), light, Class.BUILDING, viewed)


def _paint_sign(canvas: Canvas, sign: Sign, center: Points, depth: float) -> None:
    scale = canvas.camera.focal_px / depth * sign.size
    corners = sign.corners or 14
    angles = sign.turn + np.arange(corners) * 2 * np.pi / corners
    plate = np.stack([np.sin(angles), -np.cos(angles)], axis=1) * scale
    factor = canvas.light.on(0, 0.3, -0.9)
    canvas.fill(fixed_point(center + plate), canvas.seen_color(sign.rim, factor, depth), Class.SIGN, depth)
    canvas.fill(fixed_point(center + 0.78 * plate), canvas.seen_color(sign.face, factor, depth), None, depth)
    bar = np.array([[-0.45, -0.12], [0.45, -0.12], [0.45, 0.12], [-0.45, 0.12]]) * scale
    canvas.fill(fixed_point(center + bar), canvas.seen_color(sign.glyph, factor, depth), None, depth)


def _upright(top: tuple[float, float], bottom: tuple[float, float], left: float, right: float) -> npt.NDArray[np.int32]:
    corners = [(top[0] + left, top[1]), (top[0] + right, top[1])]
    corners += [(bottom[0] + right, bottom[1]), (bottom[0] + left, bottom[1])]
    return fixed_point(np.array(corners))
