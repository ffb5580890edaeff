"""What quantizers compute: integers, scales and zero points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from jetseg.quantization.ranges import TensorRange

SYMMETRIC_LIMIT = 127
"""Largest magnitude of a symmetric 8-bit value."""
REDUCED_WEIGHT_LIMIT = 64
"""Largest magnitude of a weight on AVX2, whose kernels add pairs of products in 16 bits: 2 * 255 * 64 still fits,
2 * 255 * 127 does not and would silently saturate."""
SMALLEST_WEIGHT_SCALE = 1e-30
"""Channels below it are dead: their weights become zeros, and no scale, nor its product with an activation's, is too
small for float32."""


@dataclass(frozen=True)
class Quantizer:
    """An 8-bit quantizer of one activation, as numbers: integers from `lowest` to `highest`."""

    scale: float
    zero_point: int
    lowest: int
    highest: int

    def __call__(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Returns the values rounded and clipped as QuantizeLinear and DequantizeLinear do.

        >>> import numpy as np
        >>> Quantizer(1.0, 0, -128, 127)(np.float32([0.4, 1.6, 500.0]))
        array([  0.,   2., 127.], dtype=float32)
        """
        scale = np.float32(self.scale)
        steps = np.asarray(values / scale, dtype=np.float32)  # then in place: whole activations pass here
        np.rint(steps, out=steps)
        np.clip(steps, self.lowest - self.zero_point, self.highest - self.zero_point, out=steps)
        steps *= scale
        return steps


@dataclass(frozen=True)
class Scheme:
    """What quantizers compute.

    Attributes:
        bits: 8 or 16, of weights and activations.
        symmetric: Whether activations are signed with zero point 0, or unsigned with a zero point. Weights are
            signed with zero point 0 in both.
    """

    bits: Literal[8, 16] = 8
    symmetric: bool = True

    def quantizer(self, entry: TensorRange) -> Quantizer:
        """Returns the quantizer of an activation; 16 bits have room for all that was seen."""
        low, high, amax = entry.low, entry.high, entry.amax
        if self.bits == 16:
            low, high, amax = entry.seen_low, entry.seen_high, max(-entry.seen_low, entry.seen_high)
        if not self.symmetric:
            return Quantizer(*unsigned_scale(low, high, self.bits), 0, 2**self.bits - 1)
        limit = 2 ** (self.bits - 1)
        return Quantizer(symmetric_scale(amax, limit - 1), 0, -limit, limit - 1)


TENSORRT = Scheme()
"""The only scheme that TensorRT takes."""


def symmetric_scale(amax: float, limit: int = SYMMETRIC_LIMIT) -> float:
    """Returns the scale of a signed quantizer over [-amax, amax]; 1 for a tensor that is always zero.

    >>> symmetric_scale(254.0)
    2.0
    """
    scale = amax / limit
    return scale if scale >= np.finfo(np.float32).tiny else 1.0


def weight_scales(weight: npt.NDArray[np.float32], axis: int, limit: int = SYMMETRIC_LIMIT) -> npt.NDArray[np.float32]:
    """Returns the scale of each output channel of a weight, over its largest magnitude.

    >>> import numpy as np
    >>> weight_scales(np.float32([[127.0, -3.0], [0.5, -254.0]]), axis=0)
    array([1., 2.], dtype=float32)
    """
    magnitude = np.abs(np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1)).max(axis=1)
    scale = magnitude / np.float32(limit)
    return np.where(scale >= SMALLEST_WEIGHT_SCALE, scale, 1.0).astype(np.float32)


def unsigned_scale(low: float, high: float, bits: int = 8) -> tuple[float, int]:
    """Returns scale and zero point of an unsigned quantizer over [low, high], widened to contain zero.

    >>> unsigned_scale(-1.0, 2.984375)
    (0.015625, 64)
    """
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / (2.0**bits - 1)
    if scale < np.finfo(np.float32).tiny:
        return 1.0, 0
    return scale, round(-low / scale)
