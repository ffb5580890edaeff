"""How backends compute in 8 bits: where their quantizers stand, and what these do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import onnx

from jetseg.onnx.graph import Graph
from jetseg.quantization.config import Policy
from jetseg.quantization.qdq.insertion import (
    render_symmetric_,
    render_unsigned_,
    symmetric_quantizers,
    unsigned_quantizers,
)
from jetseg.quantization.qdq.integer_placement import place_for_integer_kernels
from jetseg.quantization.qdq.placement import Placement, place_symmetric
from jetseg.quantization.qdq.schemes import REDUCED_WEIGHT_LIMIT, SYMMETRIC_LIMIT, Quantizer
from jetseg.quantization.ranges import TensorRange


@dataclass(frozen=True)
class Arithmetic:
    """How a backend computes in 8 bits.

    Attributes:
        place: Where its quantizers stand.
        quantizers: What they do.
        render: Writes them into a network.
        weight_limit: Largest magnitude of an integer weight.
    """

    place: Callable[[Graph, Policy, Mapping[str, TensorRange]], Placement]
    quantizers: Callable[[Placement, Mapping[str, TensorRange]], dict[str, Quantizer]]
    render: Callable[[Graph, Placement, Mapping[str, TensorRange]], onnx.ModelProto]
    weight_limit: int


ARITHMETICS = {
    "tensorrt": Arithmetic(place_symmetric, symmetric_quantizers, render_symmetric_, SYMMETRIC_LIMIT),
    "onnxruntime": Arithmetic(
        lambda graph, _policy, _tensors: place_for_integer_kernels(graph),
        unsigned_quantizers,
        render_unsigned_,
        REDUCED_WEIGHT_LIMIT,
    ),
}
"""By backend."""
