"""Fog, rain and night."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from jetseg.data.corruptions.blending import blend, clouds, to_u8
from jetseg.preprocess import FrameU8

_FOG = (0.25, 0.4, 0.52, 0.64, 0.76)
_FOG_LIGHT = (215.0, 212.0, 208.0)
_STREAKS = (250, 450, 700, 1000, 1400)
"""In a picture of 480 x 360."""
_RAIN_VEIL = (0.05, 0.1, 0.16, 0.22, 0.3)
_NIGHT = (0.6, 0.42, 0.3, 0.2, 0.13)
_NIGHT_TINT = (1.15, 0.98, 0.88)
_NIGHT_NOISE = 4.0


def fog(frame_hwc_u8: FrameU8, severity: int, rng: np.random.Generator) -> FrameU8:
    """Veils a frame, the more the higher up in the picture, where things are far."""
    height, width = frame_hwc_u8.shape[:2]
    far = np.linspace(1.15, 0.55, height, dtype=np.float32)[:, None]
    veil = np.clip(_FOG[severity] * far * (0.8 + 0.4 * clouds(height, width, rng)), 0, 0.95)
    return blend(frame_hwc_u8, _FOG_LIGHT, veil)


def rain(frame_hwc_u8: FrameU8, severity: int, rng: np.random.Generator) -> FrameU8:
    """Draws streaks of falling drops, and takes contrast as wet air does."""
    height, width = frame_hwc_u8.shape[:2]
    count = round(_STREAKS[severity] * height * width / (480 * 360))
    scale = height / 360
    slant = rng.uniform(-0.35, 0.35)
    streaks: npt.NDArray[np.uint8] = np.zeros((height, width), np.uint8)
    starts = rng.uniform((-20, -20), (width, height), (count, 2))
    lengths = rng.uniform(8, 26, count) * scale
    for (x, y), length, light in zip(starts, lengths, rng.integers(70, 190, count), strict=True):
        end = (round(x + slant * length), round(y + length))
        cv2.line(streaks, (round(x), round(y)), end, int(light), 1, cv2.LINE_AA)
    softened = cv2.GaussianBlur(streaks, (3, 3), 0).astype(np.float32) / 255
    veiled = blend(frame_hwc_u8, (150.0, 148.0, 145.0), np.full((height, width), _RAIN_VEIL[severity], np.float32))
    return blend(veiled, (225.0, 222.0, 220.0), 0.9 * softened)


def night(frame_hwc_u8: FrameU8, severity: int, rng: np.random.Generator) -> FrameU8:
    """Takes light, most of it at the sides and above, turns what is left to blue, and adds the noise of high gain."""
    height, width = frame_hwc_u8.shape[:2]
    across = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    down = np.linspace(0.75, 1.1, height, dtype=np.float32)[:, None]
    light = _NIGHT[severity] * down * (1.1 - 0.35 * across**2)
    tint = np.array(_NIGHT_TINT, np.float32)
    dark = frame_hwc_u8.astype(np.float32) * light[..., None] * tint
    return to_u8(dark + rng.normal(0, _NIGHT_NOISE, dark.shape).astype(np.float32))
