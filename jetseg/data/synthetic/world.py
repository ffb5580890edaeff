"""What stands along the street: an endless world in blocks, each made from (seed, block number) alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from jetseg.data.synthetic.style import Layout
from jetseg.data.synthetic.things import (
    Building,
    Car,
    Person,
    Pole,
    Tree,
    draw_building,
    draw_car,
    draw_person,
    draw_pole_color,
    draw_sign,
    draw_tree,
)

BLOCK_M = 60.0
SIGHT_M = 115.0
"""Houses are drawn this far; beyond, there is a painted skyline."""
TREE_SIGHT_M = 80.0
POLE_SIGHT_M = 24.0
"""Poles are drawn this far: they are three pixels wide there, which a network can still see."""


@dataclass
class Block:
    """Everything that stands still in one stretch of the street."""

    buildings: list[Building] = field(default_factory=list)
    trees: list[Tree] = field(default_factory=list)
    poles: list[Pole] = field(default_factory=list)
    cars: list[Car] = field(default_factory=list)
    junction: tuple[float, float] | None = None
    crossing: tuple[float, float] | None = None
    walkers: list[tuple[Person, int]] = field(default_factory=list)
    """Who uses the crossing, and from which side."""


def blocks_in_sight(along: float) -> Iterator[int]:
    """Yields the numbers of the blocks from just behind a place to as far as one sees."""
    yield from range(int(np.floor((along - 10) / BLOCK_M)), int(np.floor((along + SIGHT_M) / BLOCK_M)) + 1)


def build_block(seed: int, number: int, layout: Layout, density: float) -> Block:
    """Builds the stretch from `number` * 60 m on.

    Args:
        seed: The drive's seed.
        number: Number of the block, also negative.
        layout: The street.
        density: How built-up the street is, 0 to 1.
    """
    rng = np.random.default_rng((seed, 1, number + (1 << 20)))
    block, start = Block(), number * BLOCK_M
    free = start
    if rng.random() < 0.3:
        block.junction = (start, start + rng.uniform(7, 10))
        free = block.junction[1]
    if rng.random() < 0.65:
        block.crossing = (free + 1.0, free + 4.2)
        for _ in range(int(rng.integers(1, 4))):
            person = draw_person(rng, block.crossing[0] + rng.uniform(0.5, 2.7), 0.0, sideways=True)
            block.walkers.append((person, int(rng.choice([-1, 1]))))
    for side in (-1, 1):
        stretch = _Stretch(rng, layout, side, free, start + BLOCK_M)
        _line_with_houses(block, stretch, density)
        _line_with_poles(block, stretch)
        if layout.parking[(side + 1) // 2]:
            _park_cars(block, stretch)
    return block


class _Stretch(NamedTuple):
    """One side of a block."""

    rng: np.random.Generator
    layout: Layout
    side: int
    start: float
    end: float


def _line_with_houses(block: Block, stretch: _Stretch, density: float) -> None:
    """Sets houses side by side, with trees in the gaps and on the grass."""
    rng, layout, side, start, end = stretch
    at = start + rng.uniform(0, 3)
    while at < end - 6:
        length = min(rng.uniform(8, 22), end - at)
        if rng.random() < density:
            block.buildings.append(draw_building(rng, at, at + length, side, layout))
        else:
            for along in np.arange(at + 1, at + length, rng.uniform(2.5, 5)):
                away = side * (layout.facade(side) + rng.uniform(1, 9))
                block.trees.append(draw_tree(rng, float(along), away, bush=rng.random() < 0.3))
        at += length + (rng.uniform(1, 6) if rng.random() < 0.4 else 0.0)
    if layout.verge:
        for along in np.arange(start + rng.uniform(0, 6), end, rng.uniform(6, 14)):
            across = side * (layout.edge(side) + layout.pavement + rng.uniform(0.6, layout.verge))
            block.trees.append(draw_tree(rng, float(along), across, bush=rng.random() < 0.5))


def _line_with_poles(block: Block, stretch: _Stretch) -> None:
    rng, layout, side, start, end = stretch
    spacing = rng.uniform(11, 19)
    color = draw_pole_color(rng)
    for along in np.arange(start + rng.uniform(1, 6), end, spacing):
        across = side * (layout.edge(side) + rng.uniform(0.35, 0.6))
        lamp = rng.random() < 0.45
        height = rng.uniform(5.5, 8.0) if lamp else rng.uniform(2.7, 3.6)
        arm = -side * rng.uniform(1.0, 2.2) if lamp and rng.random() < 0.6 else 0.0
        sign = draw_sign(rng) if not lamp or rng.random() < 0.6 else None
        width = rng.uniform(0.36, 0.48) if lamp else rng.uniform(0.32, 0.38)
        block.poles.append(Pole(float(along), across, height, width, color, arm, sign))


def _park_cars(block: Block, stretch: _Stretch) -> None:
    rng, layout, side, start, end = stretch
    at = start + 5
    while at < end - 4:
        car = draw_car(rng, at, side * (layout.edge(side) - 1.1), side)
        if rng.random() < 0.5:
            block.cars.append(car)
        at += car.length + rng.uniform(0.8, 2.5)
