"""What moves: cars in the lanes, people on the pavements and crossings, as functions of time alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from jetseg.data.synthetic.style import Layout
from jetseg.data.synthetic.things import Car, Person, draw_car, draw_person
from jetseg.data.synthetic.world import Block

CAR_SIGHT_M = 60.0
PERSON_SIGHT_M = 22.0
_STRETCH_M = 80.0
_STEP_RADIANS_PER_M = 4.2


@dataclass(frozen=True)
class Stream:
    """Cars or people who keep their distances: the stream moves as a whole at one speed.

    Attributes:
        number: Tells the streams of a drive apart.
        across: Distance from the center line, in meters.
        speed: Meters per second, negative if oncoming.
        closest: Least distance from one to the next, in meters.
        widest: Greatest distance.
    """

    number: int
    across: float
    speed: float
    closest: float
    widest: float

    def places(self, seed: int, first: float, last: float, seconds: float) -> Iterator[tuple[float, int]]:
        """Yields where along the road the members between two places are now, each with a lasting seed."""
        shift = self.speed * seconds
        begin = int(np.floor((first - shift) / _STRETCH_M))
        for stretch in range(begin, int(np.floor((last - shift) / _STRETCH_M)) + 1):
            for own, member in _members(self, seed, stretch):
                if first <= own + shift <= last:
                    yield own + shift, member


@dataclass(frozen=True)
class Traffic:
    """Everything that moves during one drive."""

    seed: int
    cars: tuple[Stream, ...]
    people: tuple[Stream, ...]
    lead_m: float
    """Mean distance of a car ahead in the own lane, or 0."""
    lane: float
    """Where the own lane is, from the center line."""
    speed: float

    def cars_at(self, along: float, seconds: float) -> list[Car]:
        """Returns the cars in sight, among them perhaps one ahead in the own lane."""
        found = []
        for stream in self.cars:
            heading = 1 if stream.across > 0 else -1
            for place, member in stream.places(self.seed, along - 8, along + CAR_SIGHT_M, seconds):
                car, aside = _car(member)
                found.append(replace(car, along=place, across=stream.across + aside, heading=heading))
        if self.lead_m:
            car, aside = _car(self.seed)
            ahead = self.lead_m * (1 + 0.3 * math.sin(0.35 * seconds + 10 * aside))
            found.append(replace(car, along=along + ahead, across=self.lane + 0.2 * math.sin(0.5 * seconds)))
        return found

    def people_at(self, along: float, seconds: float) -> list[Person]:
        """Returns the people on the pavements in sight."""
        found = []
        for stream in self.people:
            for place, member in stream.places(self.seed, along + 2, along + PERSON_SIGHT_M, seconds):
                person, aside = _person(member)
                placed = replace(person, along=place, across=stream.across + aside)
                found.append(_walk(placed, stream.speed * seconds))
        return found

    def crossers_at(self, block: Block, along: float, edges: tuple[float, float]) -> list[Person]:
        """Returns who is on a block's crossing: they leave the own lane well before the camera gets there.

        Args:
            block: The block.
            along: Where the camera is.
            edges: Distance of the left and the right curb from the center line.
        """
        if block.crossing is None or not along + 3 < block.crossing[0] < along + PERSON_SIGHT_M + 8:
            return []
        left_s = (block.crossing[0] - along) / self.speed
        found = []
        for order, (person, side) in enumerate(block.walkers):
            # 3 m beside the camera's path two seconds before it passes, and on its way since before
            across = self.lane + side * (3.0 - 1.3 * (left_s - 2.0 + 1.5 * order))
            low, high = -edges[0] - 1.2, edges[1] + 1.2
            gone = float(np.clip(across, low, high))
            found.append(_walk(replace(person, across=gone), gone if low < across < high else 0.0))
        return found


def draw_traffic(rng: np.random.Generator, seed: int, layout: Layout) -> Traffic:
    """Draws the traffic of a drive."""
    lane_number = int(rng.integers(layout.lanes))
    lanes = [(number + 0.5) * layout.lane_width for number in range(layout.lanes)]
    speed = rng.uniform(7, 12)
    busy = rng.uniform(12, 40)
    cars = [Stream(10 + number, -lane, -rng.uniform(7, 12), 11, 11 + busy) for number, lane in enumerate(lanes)]
    cars += [
        Stream(20 + number, lane, speed + rng.uniform(-2.5, 2.5), 12, 12 + busy)
        for number, lane in enumerate(lanes)
        if number != lane_number
    ]
    crowd = rng.uniform(7, 26)
    people = [
        Stream(30 + 2 * (side > 0) + (way > 0), side * (layout.edge(side) + middle), way * 1.25, 3, 3 + crowd)
        for side in (-1, 1)
        for way, middle in ((-1, 0.4 * layout.pavement), (1, 0.75 * layout.pavement))
    ]
    lead = rng.uniform(11, 28) if rng.random() < 0.55 else 0.0
    return Traffic(seed, tuple(cars), tuple(people), lead, lanes[lane_number], speed)


def _walk(person: Person, walked_m: float) -> Person:
    return replace(person, stride=person.stride + _STEP_RADIANS_PER_M * walked_m)


@lru_cache(maxsize=256)
def _members(stream: Stream, seed: int, stretch: int) -> list[tuple[float, int]]:
    """Returns the members of a stretch: distance along the stream, and seed."""
    rng = np.random.default_rng((seed, 2, stream.number, stretch + (1 << 20)))
    found = []
    own = stretch * _STRETCH_M + rng.uniform(0, stream.closest)
    while own < (stretch + 1) * _STRETCH_M - stream.closest / 2:
        found.append((own, int(rng.integers(1 << 31))))
        own += rng.uniform(stream.closest, stream.widest)
    return found


@lru_cache(maxsize=512)
def _car(member: int) -> tuple[Car, float]:
    """Draws a car, and how far from the lane's middle it drives."""
    rng = np.random.default_rng((member, 3))
    return draw_car(rng, 0.0, 0.0, 1), rng.uniform(-0.3, 0.3)


@lru_cache(maxsize=512)
def _person(member: int) -> tuple[Person, float]:
    """Draws somebody, and how far from the stream's middle they walk."""
    rng = np.random.default_rng((member, 5))
    return draw_person(rng, 0.0, 0.0, sideways=False), rng.uniform(-0.35, 0.35)
