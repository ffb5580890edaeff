"""What several corruptions draw with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from jetseg.preprocess import FrameU8

Plane = npt.NDArray[np.floating[Any]]


def to_u8(values: npt.NDArray[Any]) -> FrameU8:
    """Rounds values to gray levels."""
    return np.asarray(np.clip(np.rint(values), 0, 255), dtype=np.uint8)


def blend(frame_hwc_u8: FrameU8, color_bgr: Sequence[float], weight_hw: Plane) -> FrameU8:
    """Covers a frame with a color; a weight of 1 leaves nothing of the frame."""
    weight = weight_hw[..., None]
    return to_u8(frame_hwc_u8 * (1 - weight) + np.array(color_bgr, np.float32) * weight)


def clouds(height: int, width: int, rng: np.random.Generator, cells: int = 4) -> Plane:
    """Draws smooth spots of three sizes, 0 to 1."""
    total: Plane = np.zeros((height, width), np.float32)
    for octave in range(3):
        side = cells << octave
        coarse = rng.random((side, side), dtype=np.float32)
        total += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) / (1 << octave)
    low, high = float(total.min()), float(total.max())
    return np.asarray((total - low) / max(high - low, 1e-6), dtype=np.float32)
