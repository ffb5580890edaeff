"""What somebody points at: the object at a pixel of a labelled frame."""

from __future__ import annotations

import re
from dataclasses import dataclass

from jetseg.data.contract import Sample, Split
from jetseg.errors import ConfigError
from jetseg.explanation.observe import scene_of
from jetseg.explanation.scene import Mask

_FORM = re.compile(r"(?P<frame>.+):(?P<x>\d+),(?P<y>\d+)")


@dataclass(frozen=True)
class Pointed:
    """Pixels of a frame that the label gives one class.

    Attributes:
        sample: The frame.
        mask_hw: The pixels, at the label's size.
        number: Their class.
    """

    sample: Sample
    mask_hw: Mask
    number: int


def find_pointed(split: Split, at: str) -> Pointed:
    """Returns the object at a pixel, as far as the label connects it.

    Args:
        split: Labelled frames.
        at: Name or number of a frame, and a pixel of it, as in "0016E5_07961:120,80": columns from the left, rows from
            the top, from 0 on, at the label's size.

    Raises:
        ConfigError: It names no pixel that is scored.
        DataError: The frame has no label, or cannot be read.
    """
    found = _FORM.fullmatch(at)
    if found is None:
        raise ConfigError(f"`at` {at!r} is no pixel of a frame.", "Write FRAME:X,Y, as in 12:120,80.")
    sample = _frame(split, found["frame"])
    scene, x, y = scene_of(sample, split), int(found["x"]), int(found["y"])
    height, width = scene.label_hw_u8.shape
    if x >= width or y >= height:
        raise ConfigError(
            f"`at` {at} is outside of {sample.name}.", f"It is {width}x{height}: X below {width}, Y below {height}."
        )
    if not scene.scored_hw[y, x]:
        raise ConfigError(f"`at` {at}: the label of {sample.name} says nothing about this pixel.", "Give another one.")
    number = int(scene.label_hw_u8[y, x])
    places = scene.objects(number).places
    return Pointed(sample, places == places[y, x], number)


def _frame(split: Split, name: str) -> Sample:
    for index in range(len(split)) if not name.isdecimal() or int(name) >= len(split) else (int(name),):
        sample = split[index]
        if name in (sample.name, str(index)):
            return sample
    raise ConfigError(
        f"`at`: {split.spec} ({split.split}) has no frame {name}.", f"Give its name, or a number below {len(split)}."
    )
