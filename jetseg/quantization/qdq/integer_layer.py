"""A layer's weight and bias as the integers that a runtime computes with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jetseg.quantization.qdq.schemes import SMALLEST_WEIGHT_SCALE

_BIAS_LIMIT = float(2**30)


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
    spread = np.expand_dims(scale, [other for other in range(weight.ndim) if other != axis])
    integers = np.clip(np.round(weight / spread), -limit, limit).astype(np.int8)
    bias_scale = (scale.astype(np.float64) * np.float32(activation_scale)).astype(np.float32)
    return IntegerLayer(integers, scale, np.round(exact / bias_scale).astype(np.int64), bias_scale)
