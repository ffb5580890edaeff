"""Colors of classes, the same in overlays, reports and figures."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

Color = tuple[int, int, int]

# The customary colors of road scenes (Cityscapes' published color table), RGB.
_ROAD_COLORS: dict[str, Color] = {
    "road": (128, 64, 128),
    "sidewalk": (244, 35, 232),
    "pavement": (244, 35, 232),
    "building": (70, 70, 70),
    "wall": (102, 102, 156),
    "fence": (190, 153, 153),
    "pole": (153, 153, 153),
    "traffic light": (250, 170, 30),
    "traffic sign": (220, 220, 0),
    "sign": (220, 220, 0),
    "vegetation": (107, 142, 35),
    "tree": (107, 142, 35),
    "terrain": (152, 251, 152),
    "sky": (70, 130, 180),
    "person": (220, 20, 60),
    "pedestrian": (220, 20, 60),
    "rider": (255, 0, 0),
    "bicyclist": (255, 0, 0),
    "car": (0, 0, 142),
    "truck": (0, 0, 70),
    "bus": (0, 60, 100),
    "train": (0, 80, 100),
    "motorcycle": (0, 0, 230),
    "bicycle": (119, 11, 32),
    "lane marking": (255, 255, 255),
    "background": (0, 0, 0),
}


def default_palette(classes: Sequence[str]) -> tuple[Color, ...]:
    """Returns an RGB color per class: the customary one if the name is known, else a distinct hue.

    >>> default_palette(["sky", "organ"])[0]
    (70, 130, 180)
    """
    return tuple(_ROAD_COLORS.get(name.lower(), _hue(index)) for index, name in enumerate(classes))


def _hue(index: int) -> Color:
    red, green, blue = colorsys.hsv_to_rgb((index * 0.618034) % 1.0, 0.75, 0.95)
    return int(red * 255), int(green * 255), int(blue * 255)
