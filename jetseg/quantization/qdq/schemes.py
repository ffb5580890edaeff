"""What quantizers compute: integers, scales and zero points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper

from jetseg.manifest import EnginePrecision
from jetseg.quantization.config import SchemeName
from jetseg.quantization.ranges import TensorRange

SYMMETRIC_LIMIT = 127
"""Largest magnitude of a symmetric 8-bit value."""
REDUCED_WEIGHT_LIMIT = 64
"""Largest magnitude of a weight on AVX2, whose kernels add pairs of products in 16 bits: 2 * 255 * 64 still fits,
2 * 255 * 127 does not and would silently saturate."""
SMALLEST_WEIGHT_SCALE = 1e-30
"""Channels below it are dead: their weights become zeros, and no scale, nor its product with an activation's, is too
small for float32."""
FLOAT8_LIMIT = 448
"""The largest number of E4M3, the 8-bit float with 4 bits of exponent and 3 of mantissa."""
_BIAS_LIMIT = float(2**30)
_FLOAT8_LEAST_EXPONENT = -9
"""Of E4M3's smallest step, that of its numbers without a leading one."""


@dataclass(frozen=True)
class Quantizer:
    """A quantizer of one activation, as numbers: integers from `lowest` to `highest`."""

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
        self._round_(steps)
        np.clip(steps, self.lowest - self.zero_point, self.highest - self.zero_point, out=steps)
        steps *= scale
        return steps

    def _round_(self, steps: npt.NDArray[np.float32]) -> None:
        np.rint(steps, out=steps)


class Float8Quantizer(Quantizer):
    """A quantizer to E4M3: numbers of 3 bits after the leading one, up to 448.

    >>> import numpy as np
    >>> Float8Quantizer(1.0, 0, -448, 448)(np.float32([0.3, 17.1, 1e6])).tolist()
    [0.3125, 18.0, 448.0]
    """

    def _round_(self, steps: npt.NDArray[np.float32]) -> None:
        _round_to_float8_(steps)


@dataclass(frozen=True)
class Scheme:
    """What quantizers compute.

    Attributes:
        bits: 8 or 16, of activations.
        symmetric: Whether activations are signed with zero point 0, or unsigned with a zero point. Weights are
            signed with zero point 0 in both.
        weight_bits: 8 or 16, of weights; None for those of activations.
        floating: Whether 8-bit floats, E4M3, stand in place of integers; these are symmetric.
    """

    bits: Literal[8, 16] = 8
    symmetric: bool = True
    weight_bits: Literal[8, 16] | None = None
    floating: bool = False

    @property
    def name(self) -> str:
        """As settings name it."""
        if self.floating:
            return "fp8"
        weights = "" if self.weight_bits in (None, self.bits) else f"w{self.weight_bits}"
        return f"{self.activation_type.name}{weights}"

    @property
    def precision(self) -> EnginePrecision:
        """What a manifest says of a network with such quantizers."""
        return "fp8" if self.floating else ("int8" if self.bits == 8 else "int16")

    @property
    def activation_type(self) -> np.dtype[Any]:
        """Of quantized activations."""
        if self.floating:
            return _float8()
        return np.dtype(f"{'int' if self.symmetric else 'uint'}{self.bits}")

    @property
    def weight_type(self) -> np.dtype[Any]:
        """Of quantized weights."""
        return _float8() if self.floating else np.dtype(f"int{self.weight_bits or self.bits}")

    @property
    def weight_limit(self) -> int:
        """Largest magnitude of a quantized weight."""
        return FLOAT8_LIMIT if self.floating else int(np.iinfo(self.weight_type).max)

    def round_weight(
        self, weight: npt.NDArray[np.float32], axis: int, limit: int | None = None
    ) -> npt.NDArray[np.float32]:
        """Returns a weight as its quantizer makes it, with a scale per output channel.

        Args:
            weight: The weight.
            axis: Of its output channels.
            limit: Largest magnitude of a quantized value, where a backend has a smaller one.
        """
        scale = _spread(weight_scales(weight, axis, limit or self.weight_limit), axis, weight.ndim)
        steps = np.asarray(weight / scale, dtype=np.float32)
        if self.floating:
            _round_to_float8_(steps)
        else:
            np.rint(steps, out=steps)
        return np.asarray(steps * scale)

    def weight_integers(
        self, weight: npt.NDArray[np.float32], axis: int
    ) -> tuple[npt.NDArray[np.generic], npt.NDArray[np.float32]]:
        """Returns a weight's integers, and their scale per output channel."""
        scale = weight_scales(weight, axis, self.weight_limit)
        steps = np.rint(weight / _spread(scale, axis, weight.ndim))
        return np.clip(steps, -self.weight_limit, self.weight_limit).astype(self.weight_type), scale

    def quantizer(self, entry: TensorRange) -> Quantizer:
        """Returns the quantizer of an activation; 16 bits, and floats, have room for all that was seen."""
        low, high, amax = entry.low, entry.high, entry.amax
        if self.bits == 16 or self.floating:
            low, high, amax = entry.seen_low, entry.seen_high, max(-entry.seen_low, entry.seen_high)
        if self.floating:
            return Float8Quantizer(symmetric_scale(amax, FLOAT8_LIMIT), 0, -FLOAT8_LIMIT, FLOAT8_LIMIT)
        if not self.symmetric:
            return Quantizer(*unsigned_scale(low, high, self.bits), 0, 2**self.bits - 1)
        limit = 2 ** (self.bits - 1)
        return Quantizer(symmetric_scale(amax, limit - 1), 0, -limit, limit - 1)


SCHEMES: dict[SchemeName, Scheme] = {
    "int8": Scheme(),
    "uint8": Scheme(symmetric=False),
    "int16": Scheme(16),
    "uint16": Scheme(16, symmetric=False),
    "int16w8": Scheme(16, weight_bits=8),
    "uint16w8": Scheme(16, symmetric=False, weight_bits=8),
    "fp8": Scheme(floating=True),
}
"""By name."""
TENSORRT = SCHEMES["int8"]
"""What TensorRT computes in integers, the only such scheme that it takes."""


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


@dataclass(frozen=True)
class IntegerLayer:
    """A layer's numbers on integers, with a scale per output channel.

    Attributes:
        weight: int8, as the weight lies.
        weight_scale: float32, of each output channel.
        bias: Whole numbers that fit 32 bits, int64.
        bias_scale: float32, that of the weight times that of the activation.
    """

    weight: npt.NDArray[np.int8]
    weight_scale: npt.NDArray[np.float32]
    bias: npt.NDArray[np.int64]
    bias_scale: npt.NDArray[np.float32]


def integer_layer(
    weight: npt.NDArray[np.float32], bias: npt.NDArray[np.float32], axis: int, activation_scale: float, limit: int
) -> IntegerLayer:
    """Returns weight and bias of a layer on integers.

    Args:
        weight: The weight.
        bias: One number for each output channel.
        axis: Of the weight's output channels.
        activation_scale: Of what the layer reads.
        limit: Largest magnitude of a quantized weight.

    >>> layer = integer_layer(np.float32([[127.0, -3.0]]), np.float32([10.0]), 0, 0.5, 127)
    >>> layer.weight.tolist(), layer.bias.tolist(), layer.bias_scale.tolist()
    ([[127, -3]], [20], [0.5])
    """
    exact = bias.astype(np.float64)
    magnitude = np.abs(np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1)).max(axis=1).astype(np.float64)
    # a channel of tiny weights with a large bias gets a coarser scale, or its bias would not fit 32 bits
    wanted = np.maximum(magnitude / limit, np.abs(exact) / (activation_scale * _BIAS_LIMIT))
    scale = np.where(wanted >= SMALLEST_WEIGHT_SCALE, wanted, 1.0).astype(np.float32)
    integers = np.clip(np.round(weight / _spread(scale, axis, weight.ndim)), -limit, limit).astype(np.int8)
    bias_scale = (scale.astype(np.float64) * np.float32(activation_scale)).astype(np.float32)
    return IntegerLayer(integers, scale, np.round(exact / bias_scale).astype(np.int64), bias_scale)


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


def _spread(scale: npt.NDArray[np.float32], axis: int, rank: int) -> npt.NDArray[np.float32]:
    return scale.reshape([-1 if position == axis else 1 for position in range(rank)])


def _round_to_float8_(steps: npt.NDArray[np.float32]) -> None:
    """Rounds numbers within E4M3's range to its nearest ones, ties to the even."""
    _, exponent = np.frexp(steps)
    unit = np.ldexp(np.float32(1), np.maximum(exponent - 4, _FLOAT8_LEAST_EXPONENT))
    steps /= unit
    np.rint(steps, out=steps)
    steps *= unit


def _float8() -> np.dtype[Any]:
    kind: np.dtype[Any] = helper.tensor_dtype_to_np_dtype(TensorProto.FLOAT8E4M3FN)
    return kind
