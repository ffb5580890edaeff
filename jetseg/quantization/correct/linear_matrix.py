"""Linear layers as matrix products, laid out as `layer_matrix` lays out convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from jetseg.onnx.node import attribute_float, attribute_int

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class LinearMatrix:
    """How the weight of a MatMul or a Gemm is laid out as a matrix.

    Attributes:
        turned: Whether its rows are outputs.
        inputs: Products that one output sums.
    """

    turned: bool
    inputs: int

    @classmethod
    def of(cls, node: onnx.NodeProto, shape: Sequence[int]) -> LinearMatrix | None:
        """Reads the layout off a node; None for layers that it cannot express."""
        if node.op_type not in ("MatMul", "Gemm") or len(shape) != 2:
            return None
        if attribute_float(node, "alpha", 1.0) != 1.0 or attribute_int(node, "transA", 0):
            return None
        turned = bool(attribute_int(node, "transB", 0))
        return cls(turned, int(shape[1] if turned else shape[0]))

    def to_blocks(self, weight: Array) -> Array:
        """Returns the matrix: 1 x outputs x inputs."""
        return (weight if self.turned else weight.T)[None]

    def from_blocks(self, blocks: Array, shape: Sequence[int]) -> Array:
        """Turns the matrix back into a weight of the given shape."""
        return np.asarray((blocks[0] if self.turned else blocks[0].T).reshape(shape))

    def samples(self, values: Array, targets: Array, positions: Array) -> tuple[Array, Array]:
        """Reads a layer's inputs and targets at some tokens of one frame.

        Args:
            values: What the layer reads: ... x inputs.
            targets: What it should compute: ... x outputs.
            positions: count x 2, from 0 to below 1. Tokens go over the frame row by row, so that the vertical position
                picks the token.

        Returns:
            Inputs (1 x count x inputs) and targets (1 x count x outputs).
        """
        read, wanted = values.reshape(-1, values.shape[-1]), targets.reshape(-1, targets.shape[-1])
        tokens = (positions[:, 0] * len(read)).astype(np.int64)
        return read[tokens][None], wanted[tokens][None]
