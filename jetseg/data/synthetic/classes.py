"""The classes of the synthetic drive."""

from __future__ import annotations

from enum import IntEnum


class Class(IntEnum):
    """Label ids, in the order of the class list."""

    SKY = 0
    BUILDING = 1
    VEGETATION = 2
    ROAD = 3
    LANE_MARKING = 4
    PAVEMENT = 5
    POLE = 6
    SIGN = 7
    CAR = 8
    PEDESTRIAN = 9


CLASSES = tuple(item.name.lower().replace("_", " ") for item in Class)
IGNORED = 255
"""Never used: every pixel has a class."""
