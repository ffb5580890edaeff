"""What can be told about a frame and a network's answer without labels: the raw material of the drift monitor."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from jetseg.postprocess import ClassMap, resize_class_map
from jetseg.preprocess import FrameU8, resize_frame

Vector = npt.NDArray[np.float64]

_SMALL_HEIGHT, _SMALL_WIDTH = 180, 240
_TINY_HEIGHT, _TINY_WIDTH = 90, 120
_COARSE_SIZE = (30, 22)
_ROUNDING = 0.2
"""Gray levels of detail that rounding may feign or hide."""
_BANDS = 3
_CLIPPED = 250
"""Gray level from which a pixel counts as clipped."""
_STILL_LEVELS = 4
"""Gray levels by which a pixel may change and still show the same thing."""
_LEAST_STILL_SHARE = 0.2
_GRID_STEPS = 48
"""Rows and columns of the grid on which confidence is measured, at least."""


@dataclass(frozen=True)
class Signals:
    """What was measured on one frame.

    Attributes:
        brightness: Mean gray level, 0..255.
        clipped: Share of pixels that are white beyond measure, 0..1.
        sharpness: Logarithm of the ratio of fine to coarse detail; the scene hardly moves it, a blur lowers it.
        colors: Blue against red and green against both, as logarithms, in each of three bands from top to bottom.
        scene: Brightness, contrast, both ends of the gray scale, sharpness, color balance and saturation.
        class_shares: Share of the pixels per class, void last; the sum is 1.
        doubt: 1 - mean probability of the winning class; None where the output is a class map.
        entropy: Mean entropy of the class probabilities, 0..1; None where the output is a class map.
        flicker: Of the pixels that look as before, the share that changed class; None for the first frame and
            where less than a fifth of the picture looks as before.
        motion: Mean change of the gray levels since the frame before; None for the first.
    """

    brightness: float
    clipped: float
    sharpness: float
    colors: Vector
    scene: Vector
    class_shares: Vector
    doubt: float | None
    entropy: float | None
    flicker: float | None
    motion: float | None


@dataclass(frozen=True)
class _Tiny:
    gray_hw_u8: npt.NDArray[np.uint8]
    ids_hw_u8: ClassMap


class SignalMeter:
    """Measures frame after frame on small copies of picture and class map; it remembers the frame before.

    Args:
        num_classes: Scored classes; the id of that number means void.
    """

    def __init__(self, num_classes: int) -> None:
        self._num_classes = num_classes
        self._before: _Tiny | None = None

    def forget(self) -> None:
        """Takes the next frame as the first of another sequence."""
        self._before = None

    def measure(
        self, frame_hwc_u8: FrameU8, class_map_hw_u8: ClassMap, scores: npt.NDArray[Any] | None = None
    ) -> Signals:
        """Measures one frame.

        Args:
            frame_hwc_u8: BGR, any size.
            class_map_hw_u8: The network's answer, any size.
            scores: Logits on a grid of pixels, channels x pixels, as `grid_scores` takes them; None without logits.
        """
        small = _shrink(frame_hwc_u8)
        gray = np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), dtype=np.uint8)
        tiny = _Tiny(
            np.asarray(cv2.resize(gray, (_TINY_WIDTH, _TINY_HEIGHT), interpolation=cv2.INTER_AREA), dtype=np.uint8),
            resize_class_map(class_map_hw_u8, _TINY_HEIGHT, _TINY_WIDTH),
        )
        levels = cv2.calcHist([gray], [0], None, [256], [0, 256]).ravel().astype(np.float64) / gray.size
        sharpness = _sharpness(gray)
        bands = [_balance(band) for band in np.array_split(small, _BANDS)]
        doubt, entropy = (None, None) if scores is None else doubt_and_entropy(scores)
        flicker, motion = self._changes(tiny)
        shares = np.bincount(tiny.ids_hw_u8.ravel(), minlength=self._num_classes + 1)
        return Signals(
            brightness=float(levels @ np.arange(256)),
            clipped=float(levels[_CLIPPED:].sum()),
            sharpness=sharpness,
            colors=np.concatenate(bands),
            scene=_scene(small, levels, sharpness, np.mean(bands, axis=0)),
            class_shares=shares[: self._num_classes + 1] / tiny.ids_hw_u8.size,
            doubt=doubt,
            entropy=entropy,
            flicker=flicker,
            motion=motion,
        )

    def _changes(self, now: _Tiny) -> tuple[float | None, float | None]:
        before, self._before = self._before, now
        if before is None:
            return None, None
        change = cv2.absdiff(now.gray_hw_u8, before.gray_hw_u8)
        still = change <= _STILL_LEVELS
        share = float(still.mean())
        flips = (now.ids_hw_u8 != before.ids_hw_u8) & still
        flicker = float(flips.mean()) / share if share >= _LEAST_STILL_SHARE else None
        return flicker, float(change.mean())


def grid_scores(output: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Copies the scores of a grid of pixels, at most some thousand, out of a network's logits.

    Args:
        output: Logits, 1 x C x H x W.

    Returns:
        float32, C x pixels.
    """
    return np.array(on_grid(output[0]), dtype=np.float32).reshape(output.shape[1], -1)


def on_grid(planes: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Returns a grid of pixels, some thousand at most, of what has the height and width of the output at its end.

    >>> on_grid(np.zeros((2, 360, 480))).shape
    (2, 51, 69)
    """
    step = max(1, min(planes.shape[-2:]) // _GRID_STEPS)
    return planes[..., step // 2 :: step, step // 2 :: step]


def doubt_and_entropy(scores: npt.NDArray[Any]) -> tuple[float, float]:
    """Returns 1 - mean probability of the winning class, and the mean entropy relative to the largest possible one.

    Args:
        scores: Logits, channels x pixels.

    >>> doubt_and_entropy(np.zeros((4, 10), np.float32))
    (0.75, 1.0)
    """
    shifted = scores - scores.max(axis=0)
    weights = np.exp(shifted)
    total = weights.sum(axis=0)
    # entropy = log(total) - mean of the shifted scores, which needs no logarithm per class
    entropy = np.log(total) - (weights * shifted).sum(axis=0) / total
    return float(1 - (1 / total).mean()), float(entropy.mean() / math.log(max(2, len(scores))))


def _shrink(frame_hwc_u8: FrameU8) -> FrameU8:
    """Brings a frame of any size to the small one; of a large frame only some pixels are looked at."""
    height, width = frame_hwc_u8.shape[:2]
    step = min(height // (2 * _SMALL_HEIGHT), width // (2 * _SMALL_WIDTH))
    if step > 1:
        size = (width // step, height // step)
        frame_hwc_u8 = np.asarray(cv2.resize(frame_hwc_u8, size, interpolation=cv2.INTER_NEAREST), dtype=np.uint8)
    return resize_frame(frame_hwc_u8, _SMALL_HEIGHT, _SMALL_WIDTH)


def _sharpness(gray: npt.NDArray[np.uint8]) -> float:
    """Compares detail at two scales far apart, because natural scenes hold about as much of both."""
    both = gray, cv2.resize(gray, _COARSE_SIZE, interpolation=cv2.INTER_AREA)
    fine, coarse = (cv2.norm(cv2.Laplacian(image, cv2.CV_16S), cv2.NORM_L1) / image.size for image in both)
    return math.log((fine + _ROUNDING) / (coarse + _ROUNDING))


def _balance(band_hwc_u8: FrameU8) -> Vector:
    blue, green, red = (math.log(value + 1) for value in cv2.mean(band_hwc_u8)[:3])
    return np.array([blue - red, green - (blue + red) / 2])


def _scene(small: FrameU8, levels: Vector, sharpness: float, balance: Vector) -> Vector:
    gray = np.arange(256)
    mean = float(levels @ gray)
    contrast = math.sqrt(max(0.0, float(levels @ (gray - mean) ** 2)))
    dark, light = np.searchsorted(np.cumsum(levels), [0.05, 0.95])
    blue, green, red = cv2.split(small[::2, ::2])
    strongest = cv2.max(cv2.max(blue, green), red)
    weakest = cv2.min(cv2.min(blue, green), red)
    saturation = 1 - cv2.mean(weakest)[0] / (cv2.mean(strongest)[0] + 1)
    logarithms = [math.log(value + 5) for value in (mean, contrast, float(dark), float(light))]
    return np.array([*logarithms, sharpness, *balance, math.sqrt(saturation)])
