"""One drive through a synthetic street: any frame of it, in any order, with exact labels."""

from __future__ import annotations

from collections import OrderedDict

import cv2
import numpy as np

from jetseg.data.contract import Sample
from jetseg.data.synthetic.camera import camera_at
from jetseg.data.synthetic.canvas import Canvas
from jetseg.data.synthetic.cars import paint_car
from jetseg.data.synthetic.ground import backdrop_depth, draw_ground_style, paint_backdrop
from jetseg.data.synthetic.lens import expose
from jetseg.data.synthetic.people import paint_person
from jetseg.data.synthetic.scenery import paint_building, paint_pole, paint_tree
from jetseg.data.synthetic.sky import draw_sky
from jetseg.data.synthetic.style import draw_layout, draw_light, draw_optics
from jetseg.data.synthetic.things import Car, Person, Pole, Tree
from jetseg.data.synthetic.traffic import CAR_SIGHT_M, draw_traffic
from jetseg.data.synthetic.world import (
    POLE_SIGHT_M,
    SIGHT_M,
    TREE_SIGHT_M,
    Block,
    blocks_in_sight,
    build_block,
)

FRAMES_PER_SECOND = 10.0
_BLOCKS_KEPT = 6
_SHADOW = 0.55
_CIRCLE = np.linspace(0, 2 * np.pi, 11)[:-1]


class SyntheticDrive:
    """An endless drive through a street that is drawn as it comes, with ten classes and exact labels.

    Everything follows from the seed and the frame's number, so frames can be asked for in any order.

    Args:
        seed: Which street, weather, traffic and camera; not negative.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        rng = np.random.default_rng((seed, 0))
        self._layout = draw_layout(rng)
        self._light = draw_light(rng)
        self._optics = draw_optics(rng)
        ground = draw_ground_style(rng, self._layout)
        self._surfaces = draw_sky(rng, self._light), ground
        self._traffic = draw_traffic(rng, seed, self._layout)
        self._density = rng.uniform(0.45, 1.0)
        self._start = rng.uniform(0, 1000)
        self._blocks: OrderedDict[int, Block] = OrderedDict()

    def frame(self, index: int, *, depth: bool = False) -> Sample:
        """Draws a frame.

        Args:
            index: Number of the frame, from 0; ten are one second of the drive.
            depth: Whether to measure the depth of each pixel, too; it takes longer.

        Returns:
            Image 192 x 320 and its label; the same seed and index always give the same. With `depth`, the target
            "depth" is the distance along the optical axis in meters, not a number where there is nothing but sky.
        """
        seconds = index / FRAMES_PER_SECOND
        along = self._start + self._traffic.speed * seconds
        blocks = [self._block(number) for number in blocks_in_sight(along)]
        camera = camera_at(self._layout, self._optics, along, self._traffic.lane, seconds)
        picture, label = paint_backdrop(camera, self._light, self._layout, self._surfaces, blocks)
        canvas = Canvas(camera, self._light, picture, label, backdrop_depth(camera) if depth else None)
        parked = [car for block in blocks for car in block.cars if -8 < car.along - along < CAR_SIGHT_M]
        cars = parked + self._traffic.cars_at(along, seconds)
        edges = self._layout.edge(-1), self._layout.edge(1)
        people = self._traffic.people_at(along, seconds)
        for block in blocks:
            people += self._traffic.crossers_at(block, along, edges)
        self._paint_shadows(canvas, cars, people)
        self._paint_houses(canvas, blocks, along)
        self._paint_things(canvas, blocks, cars, people)
        noise = np.random.default_rng((self.seed, 6, index))
        image = expose(canvas.picture, self._optics, noise)
        targets = {}
        if canvas.depth is not None:
            targets["depth"] = np.where(np.isfinite(canvas.depth), canvas.depth, np.float32(np.nan))
        return Sample(f"drive{self.seed:06d}_{index:06d}", image, canvas.label, targets=targets)

    def _block(self, number: int) -> Block:
        if number not in self._blocks:
            self._blocks[number] = build_block(self.seed, number, self._layout, self._density)
            if len(self._blocks) > _BLOCKS_KEPT:
                self._blocks.popitem(last=False)
        self._blocks.move_to_end(number)
        return self._blocks[number]

    def _paint_shadows(self, canvas: Canvas, cars: list[Car], people: list[Person]) -> None:
        """Darkens the ground under cars and people."""
        aside = 0.0 if self._light.direct < 0.2 else -0.5 * float(np.sign(self._light.sun[0]))
        spots = [(car.across + aside, car.along, 0.62 * car.width, 0.6 * car.length) for car in cars]
        spots += [(person.across + aside / 2, person.along, 0.4, 0.25) for person in people]
        if not spots:
            return
        centers = [self._layout.center_at(along) + across for across, along, _, _ in spots]
        across = np.array([[spot[2]] for spot in spots]) * np.cos(_CIRCLE) + np.array(centers)[:, None]
        along = np.array([[spot[3]] for spot in spots]) * np.sin(_CIRCLE) + np.array([[spot[1]] for spot in spots])
        viewed = canvas.camera.view(np.stack([across, np.zeros_like(across), along], axis=2).reshape(-1, 3))
        depth = viewed[:, 2].reshape(across.shape)
        rims = np.rint(canvas.camera.project(viewed)).astype(np.int32).reshape(*across.shape, 2)
        mask = np.zeros(canvas.label.shape, dtype=np.uint8)
        for rim in rims[depth.min(axis=1) > 1.0]:
            cv2.fillConvexPoly(mask, rim, (255,))
        cv2.copyTo(cv2.convertScaleAbs(canvas.picture, alpha=_SHADOW), mask, canvas.picture)

    def _paint_houses(self, canvas: Canvas, blocks: list[Block], along: float) -> None:
        houses = [house for block in blocks for house in block.buildings]
        for house in sorted(houses, key=lambda house: -house.start):
            if along < house.end and house.start < along + SIGHT_M:
                paint_building(canvas, self._layout, house)

    def _paint_things(self, canvas: Canvas, blocks: list[Block], cars: list[Car], people: list[Person]) -> None:
        """Paints everything else from far to near."""
        trees = [tree for block in blocks for tree in block.trees]
        poles = [pole for block in blocks for pole in block.poles]
        things: list[Tree | Pole | Car | Person] = [*trees, *poles, *cars, *people]
        along = canvas.camera.position[2]
        for thing in sorted(things, key=lambda thing: -thing.along):
            ahead = thing.along - along
            if isinstance(thing, Tree) and ahead < TREE_SIGHT_M:
                paint_tree(canvas, self._layout, thing)
            elif isinstance(thing, Pole) and ahead < POLE_SIGHT_M:
                paint_pole(canvas, self._layout, thing)
            elif isinstance(thing, Car):
                paint_car(canvas, self._layout, thing)
            elif isinstance(thing, Person):
                paint_person(canvas, self._layout, thing)
