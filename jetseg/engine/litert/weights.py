"""Smaller weights in a float LiteRT file: half precision, or 8 bits with activations rounded as they come."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from jetseg.engine.litert.model_file import ModelFile
from jetseg.errors import ArtifactError
from jetseg.quantization.qdq.schemes import SCHEMES

_DYNAMIC = {"CONV_2D": 0, "FULLY_CONNECTED": 0}
"""Layers that XNNPACK computes on integers with activations that are rounded as they come; the axis of the weight's
output channels. A depthwise convolution has no such kernel, and few weights."""
_LAYERS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"})


def halve_weights_(file: ModelFile) -> None:
    """Stores weights and biases in half precision; a dequantizer makes float32 of them when the file is opened.

    Raises:
        ArtifactError: Half precision cannot hold one.
    """
    order, made = [], dict[int, int]()
    for operator in file.operators:
        inputs = [int(place) for place in operator.inputs]
        for place in inputs if file.kind(operator) in _LAYERS else ():
            values = file.constant(place)
            if place not in made and values is not None and values.dtype == np.float32:
                name = file.tensors[place].name.decode()
                half = file.add_constant(f"{name}.half", to_half(name, values))
                made[place] = file.add_tensor(f"{name}.float", values.shape, "FLOAT32")
                order.append(file.make_operator("DEQUANTIZE", half, made[place]))
        operator.inputs = [made.get(place, place) for place in inputs]
        order.append(operator)
    file.set_operators(order)


def to_half(name: str, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
    """Rounds a constant to half precision.

    Raises:
        ArtifactError: Half precision cannot hold it.
    """
    most = float(np.abs(values).max(initial=0.0))
    if most > float(np.finfo(np.float16).max):
        raise ArtifactError(f"{name} is {most:.3g}, which half precision cannot hold.", "Build with `precision` fp32.")
    return values.astype(np.float16)


def quantize_weights_(file: ModelFile) -> int:
    """Stores the weights of convolutions and matrix products in 8 bits per output channel; returns how many."""
    count = 0
    for operator in file.operators:
        kind, inputs = file.kind(operator), [int(place) for place in operator.inputs]
        weight = file.constant(inputs[1]) if kind in _DYNAMIC else None
        if weight is None or weight.dtype != np.float32:
            continue
        integers, scale = SCHEMES["int8"].weight_integers(weight, _DYNAMIC[kind])
        name = file.tensors[inputs[1]].name.decode()
        operator.inputs = [
            inputs[0],
            file.add_constant(f"{name}.integers", integers, scale, _DYNAMIC[kind]),
            *inputs[2:],
        ]
        count += 1
    return count
