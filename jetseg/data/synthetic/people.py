"""Paints people: figures of a few polygons whose legs and arms swing."""

from __future__ import annotations

import math

import numpy as np

from jetseg.data.synthetic.camera import Points
from jetseg.data.synthetic.canvas import Canvas, fixed_point
from jetseg.data.synthetic.classes import Class
from jetseg.data.synthetic.style import Layout
from jetseg.data.synthetic.things import Person

_HEAD_CORNERS = 10


def paint_person(canvas: Canvas, layout: Layout, person: Person) -> None:
    """Paints somebody who walks."""
    x = layout.center_at(person.along) + person.across
    column, row, depth = canvas.camera.spot(x, 0.0, person.along)
    if depth < 1.5:
        return
    scale = canvas.camera.focal_px / depth * person.height
    if not -scale < column < canvas.label.shape[1] + scale:
        return
    factor = canvas.light.on(0, 0.4, -0.7)
    coat = canvas.seen_color(person.coat, factor, depth)
    sleeve = canvas.seen_color(0.85 * person.coat, factor, depth)
    trousers = canvas.seen_color(person.trousers, factor, depth)
    skin = canvas.seen_color(person.skin, factor, depth)
    hair = canvas.seen_color(0.3 * person.skin, factor, depth)
    swing = math.sin(person.stride) * (0.15 if person.sideways else 0.05)
    corners = fixed_point((column, row) + _FIGURES[person.dress == 0].posed(swing) * (scale, -scale))
    for part, color in enumerate((trousers, trousers, coat, sleeve, sleeve)):
        canvas.fill(corners[4 * part : 4 * part + 4], color, Class.PEDESTRIAN, depth)
    canvas.fill(corners[20 : 20 + _HEAD_CORNERS], skin, Class.PEDESTRIAN, depth)
    if person.dress != 1:
        canvas.fill(corners[20 + _HEAD_CORNERS :], hair, None, depth)


class _Figure:
    """Polygons of a figure of height 1: two legs, trunk, two arms (4 corners each), head, hair.

    Args:
        hem: Height at which the coat ends.
        hips: Half width there.
    """

    def __init__(self, hem: float, hips: float) -> None:
        legs = [_limb((0.05 * way, hem + 0.02), (0.06 * way, 0.0), 0.06) for way in (-1, 1)]
        trunk = np.array([[-0.135, 0.83], [0.135, 0.83], [hips, hem - 0.03], [-hips, hem - 0.03]])
        arms = [_limb((0.14 * way, 0.8), (0.17 * way, 0.47), 0.04) for way in (-1, 1)]
        turn = np.linspace(0, 2 * np.pi, _HEAD_CORNERS + 1)[:-1]
        head = np.stack([0.07 * np.cos(turn), 0.91 + 0.085 * np.sin(turn)], axis=1)
        hair = np.array([[-0.07, 0.92], [-0.05, 0.985], [0.05, 0.985], [0.07, 0.92]])
        self._rest = np.concatenate([*legs, trunk, *arms, head, hair])
        self._swing = np.zeros_like(self._rest)
        for part, way in ((0, -1.0), (1, 1.0), (3, 0.8), (4, -0.8)):
            self._swing[4 * part + 2 : 4 * part + 4, 0] = way

    def posed(self, swing: float) -> Points:
        """Returns all corners, feet at (0, 0), with the limbs swung this far."""
        return self._rest + swing * self._swing


def _limb(top: tuple[float, float], bottom: tuple[float, float], half: float) -> Points:
    return np.array(
        [
            [top[0] - half, top[1]],
            [top[0] + half, top[1]],
            [bottom[0] + half * 0.8, bottom[1]],
            [bottom[0] - half * 0.8, bottom[1]],
        ]
    )


_FIGURES = (_Figure(hem=0.5, hips=0.115), _Figure(hem=0.36, hips=0.15))
