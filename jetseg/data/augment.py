"""Paired augmentation: one random change of a frame and, where it moves pixels, of its label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from jetseg.config import Record
from jetseg.preprocess import FrameU8, resize_frame

Strength = Annotated[float, Field(ge=0, lt=1)]
Probability = Annotated[float, Field(ge=0, le=1)]
Side = Annotated[int, Field(gt=0)]
Label = npt.NDArray[Any]
"""Class ids, uint8, H x W; or several planes, float32, H x W x K."""

# Luma and two color differences of television (ITU-R BT.601), for B, G, R
_LUMA = np.array([0.114, 0.587, 0.299])


class AugmentConfig(Record):
    """How much a frame may change.

    Attributes:
        crop: Height and width of what comes out.
        scale: Smallest and largest zoom, drawn evenly over its logarithm.
        horizontal_flip: Probability of a mirror image; 0 if left and right are different classes.
        brightness: Factor 1 +- this.
        gamma: Exponent of the gray levels, 1 / (1 + this) to 1 + this, drawn evenly over its logarithm.
        contrast: Factor around the frame's mean, 1 +- this.
        saturation: Factor of the color differences, 1 +- this.
        hue_degrees: Turn of the color circle, +- this.
        blur: Probability of a Gaussian blur of sigma 0.3 to 1.2 pixels.
        noise: Largest standard deviation of added Gaussian noise, in gray levels.
    """

    crop: tuple[Side, Side]
    scale: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (0.5, 2.0)
    horizontal_flip: Probability = 0.5
    brightness: Strength = 0.25
    contrast: Strength = 0.25
    saturation: Strength = 0.25
    gamma: Annotated[float, Field(ge=0, le=4)] = 0.0
    hue_degrees: float = Field(default=0.0, ge=0, le=180)
    blur: Probability = 0.0
    noise: float = Field(default=0.0, ge=0, le=64)

    @model_validator(mode="after")
    def _ordered(self) -> AugmentConfig:
        if self.scale[0] > self.scale[1]:
            raise ValueError("scale needs the smaller number first")
        return self


def augment(
    image_hwc_u8: FrameU8,
    label_hw_u8: Label,
    config: AugmentConfig,
    rng: np.random.Generator,
    *,
    ignore_index: int | None,
    distances: Sequence[int] = (),
) -> tuple[FrameU8, Label]:
    """Changes a frame and its label at random: zoom, crop, mirror, color, blur, noise.

    Where the zoomed frame is smaller than the crop, it is padded with its mean color and `ignore_index`.
    Without an `ignore_index` both are mirrored at the border, because a padded label would be invented. A label of
    several planes (float32, H x W x K) is padded with what is not a number.

    Args:
        image_hwc_u8: Frame, H x W x 3, BGR; not changed.
        label_hw_u8: Label, H x W; not changed.
        config: How much may change.
        rng: Decides everything: the same state gives the same result.
        ignore_index: Label id that is not scored, or None.
        distances: Planes of the label that are distances: what is enlarged looks nearer by the same factor.

    Returns:
        New arrays: the frame, uint8, crop height x crop width x 3, and the label, uint8, crop height x width.

    >>> config = AugmentConfig(crop=(4, 6))
    >>> frame, label = np.zeros((8, 8, 3), np.uint8), np.ones((8, 8), np.uint8)
    >>> image, ids = augment(frame, label, config, np.random.default_rng(0), ignore_index=255)
    >>> image.shape, ids.shape
    ((4, 6, 3), (4, 6))
    """
    zoom = _log_uniform(rng, *config.scale)
    image, label = _zoom(image_hwc_u8, label_hw_u8, zoom)
    if distances:
        label[..., list(distances)] /= zoom
    image, label = _crop(image, label, config.crop, rng, ignore_index)
    if rng.random() < config.horizontal_flip:
        image, label = image[:, ::-1], label[:, ::-1]
    image = _shift_colors(np.ascontiguousarray(image), config, rng)
    if config.gamma > 0:
        image = _bend(image, _log_uniform(rng, 1 / (1 + config.gamma), 1 + config.gamma))
    if rng.random() < config.blur:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.2)), dtype=np.uint8)
    if config.noise > 0:
        image = _add_noise(image, rng.uniform(0, config.noise), rng)
    return image, np.array(label, order="C")


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _zoom(image: FrameU8, label: Label, scale: float) -> tuple[FrameU8, Label]:
    height = max(1, round(image.shape[0] * scale))
    width = max(1, round(image.shape[1] * scale))
    # EXACT samples pixel centers, as the image's interpolation does; plain NEAREST is half a pixel off
    zoomed = cv2.resize(label, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    return resize_frame(image, height, width), np.array(zoomed).reshape(height, width, *label.shape[2:])


def _crop(
    image: FrameU8,
    label: Label,
    size: tuple[int, int],
    rng: np.random.Generator,
    ignore_index: int | None,
) -> tuple[FrameU8, Label]:
    height, width = size
    image, label = _pad(image, label, size, rng, ignore_index)
    top = int(rng.integers(label.shape[0] - height + 1))
    left = int(rng.integers(label.shape[1] - width + 1))
    window = slice(top, top + height), slice(left, left + width)
    return image[window], label[window]


def _pad(
    image: FrameU8,
    label: Label,
    size: tuple[int, int],
    rng: np.random.Generator,
    ignore_index: int | None,
) -> tuple[FrameU8, Label]:
    """Grows frame and label to at least this height and width; where the frame then lies in it is random."""
    rows, columns = max(0, size[0] - label.shape[0]), max(0, size[1] - label.shape[1])
    if rows == 0 and columns == 0:
        return image, label
    top, left = int(rng.integers(rows + 1)), int(rng.integers(columns + 1))
    sides = (top, rows - top, left, columns - left)
    if label.ndim == 3:
        padded_image = cv2.copyMakeBorder(image, *sides, cv2.BORDER_CONSTANT, value=cv2.mean(image))
        around = ((top, rows - top), (left, columns - left), (0, 0))
        return np.asarray(padded_image, dtype=np.uint8), np.pad(label, around, constant_values=np.nan)
    if ignore_index is None:
        padded_image = cv2.copyMakeBorder(image, *sides, cv2.BORDER_REFLECT)
        padded_label = cv2.copyMakeBorder(label, *sides, cv2.BORDER_REFLECT)
    else:
        padded_image = cv2.copyMakeBorder(image, *sides, cv2.BORDER_CONSTANT, value=cv2.mean(image))
        padded_label = cv2.copyMakeBorder(label, *sides, cv2.BORDER_CONSTANT, value=[ignore_index])
    return np.asarray(padded_image, dtype=np.uint8), np.asarray(padded_label, dtype=np.uint8)


def _shift_colors(image: FrameU8, config: AugmentConfig, rng: np.random.Generator) -> FrameU8:
    """Applies brightness, contrast, saturation and hue as one affine map of B, G, R per pixel."""
    brightness, contrast, saturation = (
        1 + strength * rng.uniform(-1, 1) for strength in (config.brightness, config.contrast, config.saturation)
    )
    turn = np.deg2rad(config.hue_degrees * rng.uniform(-1, 1))
    matrix = brightness * contrast * _color_matrix(saturation, turn)
    luma = float(np.dot(_LUMA, cv2.mean(image)[:3]))
    offset = brightness * (1 - contrast) * luma
    affine = np.concatenate([matrix, np.full((3, 1), offset)], axis=1)
    return np.asarray(cv2.transform(image, affine), dtype=np.uint8)


def _color_matrix(saturation: float, turn: float) -> npt.NDArray[np.float64]:
    """Returns the 3 x 3 map of B, G, R that keeps gray, scales colorfulness and turns the hue.

    The turn is around the gray axis in the plane of equal B + G + R (Rodrigues' formula); saturation moves
    colors away from their luma.
    """
    axis = np.full(3, 1 / np.sqrt(3))
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    rotation = np.cos(turn) * np.eye(3) + np.sin(turn) * cross + (1 - np.cos(turn)) * np.outer(axis, axis)
    desaturate = saturation * np.eye(3) + (1 - saturation) * np.tile(_LUMA, (3, 1))
    product: npt.NDArray[np.float64] = desaturate @ rotation
    return product


def _bend(image: FrameU8, gamma: float) -> FrameU8:
    """Raises gray levels, as fractions of 255, to a power."""
    table = np.rint(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)
    return np.asarray(cv2.LUT(image, table), dtype=np.uint8)


def _add_noise(image: FrameU8, sigma: float, rng: np.random.Generator) -> FrameU8:
    noise = rng.standard_normal(image.shape, dtype=np.float32) * np.float32(sigma)
    return np.asarray(cv2.add(image, noise, dtype=cv2.CV_8U), dtype=np.uint8)
