"""Finds a corruption by its name and applies it."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from types import MappingProxyType

import numpy as np

from jetseg.data.corruptions import lens, sensor, weather
from jetseg.preprocess import FrameU8

SEVERITIES = (1, 2, 3, 4, 5)
Corruption = Callable[[FrameU8, int, np.random.Generator], FrameU8]
"""Takes a frame (BGR, any size), a severity from 0 to 4 and what draws the rest; returns a new frame."""

_CORRUPTIONS: MappingProxyType[str, Corruption] = MappingProxyType(
    {
        "fog": weather.fog,
        "rain": weather.rain,
        "night": weather.night,
        "motion-blur": lens.motion_blur,
        "noise": sensor.noise,
        "jpeg": sensor.jpeg,
        "exposure": sensor.exposure,
        "color": sensor.color,
        "dirt": lens.dirt,
        "occlusion": lens.occlusion,
    }
)


def corrupt(frame_hwc_u8: FrameU8, name: str, severity: int, seed: int = 0) -> FrameU8:
    """Returns a corrupted copy of a frame; equal arguments give equal frames.

    Args:
        frame_hwc_u8: BGR, any size.
        name: One of `corruption_names`.
        severity: 1 to 5.
        seed: Draws where drops, dirt and noise are.

    >>> gray = np.full((8, 8, 3), 128, np.uint8)
    >>> int(corrupt(gray, "night", 5).mean()) < int(corrupt(gray, "night", 1).mean()) < 128
    True
    """
    rng = np.random.default_rng((zlib.crc32(name.encode()), seed))
    return _CORRUPTIONS[name](frame_hwc_u8, SEVERITIES.index(severity), rng)


def corruption_names() -> tuple[str, ...]:
    """Returns the names of all corruptions."""
    return tuple(_CORRUPTIONS)
