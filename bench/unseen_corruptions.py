"""Ten corruptions that no estimator was fitted to, in three severities; for bench/estimate.py."""

# ruff: noqa: ARG001 - all take the same arguments

from __future__ import annotations

import zlib
from collections.abc import Callable

import cv2
import numpy as np


def corrupt_unseen(image: np.ndarray, name: str, severity: int, seed: int) -> np.ndarray:
    """Returns a corrupted frame (BGR, uint8); equal arguments give equal frames."""
    return UNSEEN[name](image, severity - 1, np.random.default_rng((zlib.crc32(name.encode()), seed)))


def to_u8(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def defocus(image, severity, rng):
    radius = (3, 5, 8)[severity]
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disk = (x * x + y * y <= radius * radius).astype(np.float32)
    return to_u8(cv2.filter2D(image, cv2.CV_32F, disk / disk.sum(), borderType=cv2.BORDER_REFLECT))


def zoom_blur(image, severity, rng):
    height, width = image.shape[:2]
    total = np.zeros(image.shape, np.float32)
    factors = np.linspace(1, (1.06, 1.12, 1.2)[severity], 7)
    for factor in factors:
        turned = cv2.getRotationMatrix2D((width / 2, height / 2), 0, factor)
        total += cv2.warpAffine(image, turned, (width, height), borderMode=cv2.BORDER_REFLECT)
    return to_u8(total / len(factors))


def snow(image, severity, rng):
    flakes = (rng.random(image.shape[:2]) < (0.004, 0.010, 0.02)[severity]).astype(np.float32)
    flakes = np.clip(cv2.GaussianBlur(flakes, (5, 5), 1.0) * 6, 0, 1)[..., None]
    return to_u8((image * 0.85 + 38 * (severity + 1) / 3) * (1 - flakes) + 245 * flakes)


def impulse(image, severity, rng):
    drawn, share = rng.random(image.shape[:2]), (0.01, 0.03, 0.08)[severity]
    image = image.copy()
    image[drawn < share / 2] = 0
    image[drawn > 1 - share / 2] = 255
    return image


def pixelate(image, severity, rng):
    height, width = image.shape[:2]
    factor = (2, 3, 5)[severity]
    small = cv2.resize(image, (width // factor, height // factor), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)


def contrast(image, severity, rng):
    mean = image.mean()
    return to_u8((image - mean) * (0.6, 0.4, 0.25)[severity] + mean)


def vignette(image, severity, rng):
    height, width = image.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return to_u8(image * np.exp(-(x * x + y * y) * (0.6, 1.1, 1.9)[severity])[..., None])


def glare(image, severity, rng):
    height, width = image.shape[:2]
    left, top = rng.uniform(0.2, 0.8) * width, rng.uniform(0.1, 0.5) * height
    y, x = np.mgrid[0:height, 0:width]
    light = np.exp(-((x - left) ** 2 + (y - top) ** 2) / ((0.18, 0.28, 0.4)[severity] * width) ** 2)
    return to_u8(image + light[..., None] * np.array([200, 225, 235]) + 15 * severity)


def stripes(image, severity, rng):
    height = image.shape[0]
    rows = np.repeat(rng.normal(0, (10, 22, 40)[severity], (height + 2) // 3), 3)[:height]
    return to_u8(image + rows[:, None, None])


def posterize(image, severity, rng):
    step = 256 / (12, 7, 4)[severity]
    return to_u8((np.floor(image / step) + 0.5) * step)


UNSEEN: dict[str, Callable[[np.ndarray, int, np.random.Generator], np.ndarray]] = {
    "defocus": defocus,
    "zoom-blur": zoom_blur,
    "snow": snow,
    "impulse": impulse,
    "pixelate": pixelate,
    "contrast": contrast,
    "vignette": vignette,
    "glare": glare,
    "stripes": stripes,
    "posterize": posterize,
}
