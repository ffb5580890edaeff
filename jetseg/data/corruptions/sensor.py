"""What sensor and encoder do to a frame: noise, compression, exposure, color."""

from __future__ import annotations

import cv2
import numpy as np

from jetseg.data.corruptions.blending import to_u8
from jetseg.errors import DeviceError
from jetseg.preprocess import FrameU8

_NOISE = (7.0, 13.0, 21.0, 32.0, 46.0)
_QUALITY = (35, 22, 14, 9, 5)
_EXPOSURE = (1.4, 1.8, 2.3, 3.0, 4.0)
_CAST = (0.1, 0.18, 0.27, 0.37, 0.48)
"""Logarithm of the gain that one color gets."""
_SATURATION = (0.85, 0.65, 0.45, 0.25, 0.0)


def noise(frame_hwc_u8: FrameU8, severity: int, rng: np.random.Generator) -> FrameU8:
    """Adds noise, most of it where little light is."""
    drawn = rng.standard_normal(frame_hwc_u8.shape, dtype=np.float32)
    return to_u8(frame_hwc_u8 + _NOISE[severity] * (1.2 - frame_hwc_u8 / 640) * drawn)


def jpeg(frame_hwc_u8: FrameU8, severity: int, rng: np.random.Generator) -> FrameU8:  # noqa: ARG001
    """Encodes a frame with little quality."""
    good, content = cv2.imencode(".jpg", frame_hwc_u8, (cv2.IMWRITE_JPEG_QUALITY, _QUALITY[severity]))
    if not good:
        raise DeviceError("OpenCV could not encode a picture as JPEG.", "Use a build of OpenCV with JPEG.")
    return np.asarray(cv2.imdecode(content, cv2.IMREAD_COLOR), dtype=np.uint8)


def exposure(frame_hwc_u8: FrameU8, severity: int, rng: np.random.Generator) -> FrameU8:  # noqa: ARG001
    """Exposes a frame for too long: what is light becomes white."""
    return to_u8(frame_hwc_u8 * np.float32(_EXPOSURE[severity]))


def color(frame_hwc_u8: FrameU8, severity: int, rng: np.random.Generator) -> FrameU8:
    """Takes saturation and gives one color more weight, as a wrong white balance does."""
    gray = frame_hwc_u8.mean(axis=2, keepdims=True, dtype=np.float32)
    pale = gray + _SATURATION[severity] * (frame_hwc_u8 - gray)
    gains = np.zeros(3, np.float32)
    gains[rng.integers(3)] = _CAST[severity] * rng.choice([-1, 1])
    return to_u8(pale * np.exp(gains))
