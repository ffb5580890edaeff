"""What can stand or move along the street, and how each of them is drawn by lot."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jetseg.data.synthetic.style import Bgr, Layout
from jetseg.data.synthetic.textures import CROWN_KINDS, Texture, facade


@dataclass(frozen=True)
class Building:
    """A box whose front stands at `across` from the center line, from `start` to `end` along the road."""

    start: float
    end: float
    across: float
    height: float
    depth: float
    roof: float
    """Rise of a pitched roof, 0 for a flat one."""
    front: Texture
    wall: Bgr
    tiles: Bgr


@dataclass(frozen=True)
class Tree:
    """A tree, or a bush if `trunk` is 0."""

    along: float
    across: float
    trunk: float
    height: float
    width: float
    kind: int
    leaves: Bgr


@dataclass(frozen=True)
class Pole:
    """A lamp post, or the post of a sign."""

    along: float
    across: float
    height: float
    width: float
    color: Bgr
    arm: float
    """Length of the lamp's arm over the road, signed; 0 without."""
    sign: Sign | None


@dataclass(frozen=True)
class Sign:
    """A plate: a circle (0 corners) or a polygon."""

    size: float
    corners: int
    turn: float
    rim: Bgr
    face: Bgr
    glyph: Bgr


@dataclass(frozen=True)
class Car:
    """A car, van or truck that stands or drives at `along` now; `heading` is 1 forward, -1 oncoming."""

    along: float
    across: float
    heading: int
    length: float
    width: float
    height: float
    shape: int
    paint: Bgr


@dataclass(frozen=True)
class Person:
    """Somebody on the pavement or the crossing; `stride` is the phase of the walk in radians."""

    along: float
    across: float
    height: float
    sideways: bool
    stride: float
    coat: Bgr
    trousers: Bgr
    skin: Bgr
    dress: int


def draw_car(rng: np.random.Generator, along: float, across: float, heading: int) -> Car:
    """Draws a car: hatchback (0), saloon (1), van (2) or box truck (3)."""
    shape = int(rng.choice(4, p=[0.4, 0.35, 0.15, 0.1]))
    length = (rng.uniform(3.7, 4.3), rng.uniform(4.3, 4.9), rng.uniform(4.6, 5.4), rng.uniform(6.0, 7.5))
    height = (rng.uniform(1.45, 1.65), rng.uniform(1.4, 1.5), rng.uniform(1.9, 2.3), rng.uniform(2.6, 3.2))
    width = rng.uniform(1.7, 1.85) if shape < 2 else rng.uniform(1.85, 2.2)
    return Car(along, across, heading, length[shape], width, height[shape], shape, _paint(rng))


def draw_person(rng: np.random.Generator, along: float, across: float, *, sideways: bool) -> Person:
    """Draws somebody with clothes of any color."""
    return Person(
        along=along,
        across=across,
        height=rng.uniform(1.5, 1.95),
        sideways=sideways,
        stride=rng.uniform(0, 2 * np.pi),
        coat=_cloth(rng),
        trousers=0.7 * _cloth(rng),
        skin=np.array([0.55, 0.68, 0.9]) * rng.uniform(70, 230),
        dress=int(rng.integers(4)),
    )


def draw_building(rng: np.random.Generator, start: float, end: float, side: int, layout: Layout) -> Building:
    """Draws a house or a block of flats."""
    floors = int(rng.integers(2, 7))
    house = floors <= 3 and rng.random() < 0.6
    wall = _wall_color(rng)
    glass = rng.uniform(25, 150) * np.array([1.1, 1.0, 0.9]) + rng.uniform(-8, 8, 3)
    columns = max(2, round((end - start) / rng.uniform(2.0, 3.4)))
    return Building(
        start=start,
        end=end,
        across=side * (layout.facade(side) + rng.uniform(0, 1.5) * (rng.random() < 0.4)),
        height=floors * rng.uniform(2.8, 3.3),
        depth=rng.uniform(8, 14),
        roof=rng.uniform(2, 4) if house else 0.0,
        front=facade(rng, wall, glass, floors, columns),
        wall=wall,
        tiles=np.array([0.6, 0.7, 1.0]) * rng.uniform(60, 170) if rng.random() < 0.6 else wall * 0.5,
    )


def draw_tree(rng: np.random.Generator, along: float, across: float, *, bush: bool) -> Tree:
    """Draws a tree or a bush, now and then in autumn colors."""
    autumn = rng.random() < 0.12
    hue = np.array([0.3, 0.62, 0.85]) if autumn else np.array([rng.uniform(0.35, 0.6), 1.0, rng.uniform(0.5, 0.9)])
    height = rng.uniform(0.9, 2.0) if bush else rng.uniform(4.5, 9.5)
    return Tree(
        along=along,
        across=across,
        trunk=0.0 if bush else height * rng.uniform(0.2, 0.4),
        height=height,
        width=height * (rng.uniform(1.0, 1.7) if bush else rng.uniform(0.5, 0.8)),
        kind=int(rng.integers(CROWN_KINDS)),
        leaves=hue * rng.uniform(75, 150),
    )


def draw_sign(rng: np.random.Generator) -> Sign:
    """Draws a traffic sign: prohibition, warning, stop, direction and the like."""
    white, red, blue = np.full(3, 235.0), np.array([40.0, 35, 205]), np.array([190.0, 90, 30])
    yellow, green, dark = np.array([40.0, 200, 240]), np.array([70.0, 120, 20]), np.full(3, 30.0)
    kinds = (
        (0, 0.0, red, white, dark),
        (0, 0.0, white, blue, white),
        (3, 0.0, red, white, dark),
        (3, np.pi, red, white, white),
        (8, np.pi / 8, white, red, white),
        (4, 0.0, dark, yellow, dark),
        (4, np.pi / 4, white, blue, white),
        (4, np.pi / 4, white, green, white),
        (4, np.pi / 4, dark, white, dark),
    )
    corners, turn, rim, face, glyph = kinds[int(rng.integers(len(kinds)))]
    fading = rng.uniform(0.75, 1.0)
    return Sign(rng.uniform(0.48, 0.68), corners, turn, rim * fading, face * fading, glyph)


def _wall_color(rng: np.random.Generator) -> Bgr:
    """Draws gray concrete, brick, plaster in any pale color, or wood."""
    kind = rng.random()
    level = rng.uniform(70, 215)
    if kind < 0.4:
        return np.asarray(level * (1 + rng.uniform(-0.05, 0.05, 3)))
    if kind < 0.6:
        return np.array([0.5, 0.6, 1.0]) * rng.uniform(90, 190)
    if kind < 0.9:
        return np.array([rng.uniform(0.6, 1), rng.uniform(0.75, 1), rng.uniform(0.8, 1)]) * rng.uniform(130, 235)
    return np.array([0.55, 0.8, 0.8]) * level


def draw_pole_color(rng: np.random.Generator) -> Bgr:
    """Draws gray, steel, green, wood or white."""
    shades = np.array([[75, 75, 75], [150, 150, 145], [45, 62, 40], [50, 70, 100], [205, 205, 205]], dtype=float)
    return np.asarray(shades[int(rng.integers(len(shades)))] * rng.uniform(0.8, 1.15))


def _paint(rng: np.random.Generator) -> Bgr:
    if rng.random() < 0.6:
        return np.asarray(rng.uniform(25, 235) * (1 + rng.uniform(-0.05, 0.05, 3)))
    strong = np.zeros(3)
    strong[int(rng.integers(3))] = rng.uniform(90, 200)
    return np.asarray(strong + rng.uniform(15, 90, 3))


def _cloth(rng: np.random.Generator) -> Bgr:
    return np.asarray(rng.uniform(20, 230) * (0.55 + 0.45 * rng.random(3)))
