"""How backends compute with quantizers: where these stand, and what they do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx

from jetseg.onnx.graph import Graph
from jetseg.quantization.config import ArithmeticName, Policy, SchemeName
from jetseg.quantization.qdq.insertion import (
    make_quantizers,
    render_explicit_,
    render_integers_,
    render_rounded_,
)
from jetseg.quantization.qdq.integer_placement import LITERT, LITERT_WHOLE, ONNX_RUNTIME, place_for_integer_kernels
from jetseg.quantization.qdq.placement import Placement, place_symmetric
from jetseg.quantization.qdq.schemes import REDUCED_WEIGHT_LIMIT, SCHEMES, Quantizer, Scheme
from jetseg.quantization.ranges import TensorRange


@dataclass(frozen=True)
class Arithmetic:
    """How a backend computes with quantizers.

    Attributes:
        scheme: What its quantizers do.
        runtime: Whose arithmetic it is.
        heads: Whether LiteRT computes the last layers and average poolings on integers as well.
    """

    scheme: Scheme
    runtime: ArithmeticName
    heads: bool = False

    @property
    def on_integers(self) -> bool:
        """Whether the runtime has kernels for the scheme's numbers; else it rounds to them and computes in float."""
        return self.runtime != "onnxruntime" or self.scheme.bits == 8

    @property
    def multiplies_activations(self) -> bool:
        """Whether its kernels multiply activations; on AVX2 those of signed ones would saturate."""
        return self._reduced and not self.scheme.symmetric

    @property
    def corrects(self) -> bool:
        """Whether corrections of 8-bit integers fit it: 16 bits and floats lose too little, and have another grid."""
        return self.scheme.precision == "int8"

    @property
    def corrected_for(self) -> ArithmeticName:
        """The arithmetic whose corrected network it computes, where corrections were made."""
        return self.runtime if self.scheme.bits == 8 and not self.scheme.floating else "tensorrt"

    @property
    def weight_limit(self) -> int:
        """Largest magnitude of a quantized weight."""
        return REDUCED_WEIGHT_LIMIT if self._reduced else self.scheme.weight_limit

    def place(
        self,
        graph: Graph,
        policy: Policy,
        tensors: Mapping[str, TensorRange],
        keep_float: frozenset[str] = frozenset(),
        products: frozenset[str] = frozenset(),
    ) -> Placement:
        """Returns where its quantizers stand; those of `products` only where it multiplies activations."""
        if self.runtime == "litert":
            kernels = LITERT_WHOLE if self.heads else LITERT
            return place_for_integer_kernels(graph, keep_float, ranges=tensors, kernels=kernels)
        if self._reduced:
            return place_for_integer_kernels(graph, keep_float, products, tensors, ONNX_RUNTIME)
        return place_symmetric(graph, policy, tensors, keep_float)

    def quantizers(self, placement: Placement, tensors: Mapping[str, TensorRange]) -> dict[str, Quantizer]:
        """Returns what its quantizers do, by activation."""
        return make_quantizers(placement, tensors, self.scheme)

    def round_weight(self, weight: npt.NDArray[np.float32], axis: int) -> npt.NDArray[np.float32]:
        """Returns a weight as it computes with it."""
        return self.scheme.round_weight(weight, axis, self.weight_limit)

    def render(self, graph: Graph, placement: Placement, tensors: Mapping[str, TensorRange]) -> onnx.ModelProto:
        """Writes its quantizers into a network."""
        if self._writes_integers:
            return render_integers_(graph, placement, tensors, self.scheme, self.weight_limit)
        if self.runtime != "tensorrt":
            return render_rounded_(graph, placement, tensors, self.scheme)
        return render_explicit_(graph, placement, tensors, self.scheme)

    @property
    def _writes_integers(self) -> bool:
        return self.runtime != "tensorrt" and self.scheme.bits == 8

    @property
    def _reduced(self) -> bool:
        """Whether its kernels could saturate with weights of all 8 bits."""
        return self.runtime == "onnxruntime" and self.scheme.bits == 8


ARITHMETICS = {
    "tensorrt": Arithmetic(SCHEMES["int8"], "tensorrt"),
    "onnxruntime": Arithmetic(SCHEMES["uint8"], "onnxruntime"),
    "litert": Arithmetic(SCHEMES["uint8"], "litert"),
}
"""The one that each runtime's engines have by default, and that corrections are made for."""


def find_arithmetic(runtime: ArithmeticName, scheme: SchemeName | None) -> Arithmetic:
    """Returns a runtime's arithmetic in a scheme, or its own one."""
    return ARITHMETICS[runtime] if scheme is None else Arithmetic(SCHEMES[scheme], runtime)
