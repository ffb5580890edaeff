"""What stands between the scene and the sensor: movement, dirt, things in the way."""

from __future__ import annotations

import cv2
import numpy as np

from jetseg.data.corruptions.blending import blend, clouds, to_u8
from jetseg.preprocess import FrameU8

_BLUR = (0.011, 0.019, 0.029, 0.042, 0.058)
"""Length of the movement, in widths of the picture."""
_DIRTY = (0.06, 0.12, 0.19, 0.27, 0.36)
_HIDDEN = (0.05, 0.1, 0.16, 0.23, 0.31)
"""Shares of the picture."""
_THINGS = 5


def motion_blur(frame_hwc_u8: FrameU8, severity: int, rng: np.random.Generator) -> FrameU8:
    """Smears a frame along a line, mostly across, as in a turn."""
    length = max(3, round(_BLUR[severity] * frame_hwc_u8.shape[1]))
    angle = rng.normal(0, 0.35)
    kernel = np.zeros((length, length), np.float32)
    middle, reach = (length - 1) / 2, (length - 1) / 2
    ends = [
        (round(middle + side * reach * np.cos(angle)), round(middle + side * reach * np.sin(angle))) for side in (-1, 1)
    ]
    cv2.line(kernel, ends[0], ends[1], 1.0, 1)
    return to_u8(cv2.filter2D(frame_hwc_u8, cv2.CV_32F, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT))


def dirt(frame_hwc_u8: FrameU8, severity: int, rng: np.random.Generator) -> FrameU8:
    """Puts brown spots with soft edges on the lens, through which little is seen."""
    height, width = frame_hwc_u8.shape[:2]
    spots = clouds(height, width, rng, cells=6)
    edge = float(np.quantile(spots, 1 - _DIRTY[severity]))
    weight = np.clip((spots - edge) / 0.08 + 0.5, 0, 1).astype(np.float32)
    color = np.array([55.0, 75.0, 88.0]) * rng.uniform(0.5, 1.3)
    return blend(frame_hwc_u8, color.tolist(), 0.92 * weight)


def occlusion(frame_hwc_u8: FrameU8, severity: int, rng: np.random.Generator) -> FrameU8:
    """Hides parts of a frame behind plain things of any color."""
    hidden = np.array(frame_hwc_u8)
    height, width = hidden.shape[:2]
    area = _HIDDEN[severity] * height * width / _THINGS
    for _ in range(_THINGS):
        aspect = rng.uniform(0.4, 2.5)
        size = max(1, round(np.sqrt(area * aspect))), max(1, round(np.sqrt(area / aspect)))
        x, y = (int(rng.integers(0, max(1, whole - part))) for whole, part in zip((width, height), size, strict=True))
        hidden[y : y + size[1], x : x + size[0]] = rng.integers(0, 256, 3, dtype=np.uint8)
    return hidden
