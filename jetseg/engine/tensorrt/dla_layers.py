"""What the rules of the deep-learning accelerator look at: a node, and its tensors' shapes and types."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import onnx

from jetseg.onnx.graph import Graph
from jetseg.onnx.node import attribute_float, attribute_ints, attribute_text
from jetseg.onnx.type_inference import Shape

FREE = frozenset({"QuantizeLinear", "DequantizeLinear", "Identity", "Dropout", "Constant"})
"""Operators that leave no layer behind."""


@dataclass(frozen=True)
class Layer:
    """A node, with what is known about its tensors."""

    graph: Graph
    node: onnx.NodeProto

    def shape(self, name: str) -> Shape:
        """Returns a tensor's sizes; none if unknown."""
        return self.graph.shapes.get(name, ())

    def is_constant(self, position: int) -> bool:
        """Tells whether an input is a weight, quantized or not."""
        return self.graph.origin(self.node.input[position], FREE) in self.graph.weights

    def constant(self, position: int) -> npt.NDArray[Any] | None:
        """Returns a weight's values; None if the input is not there or computed."""
        name = self.node.input[position] if len(self.node.input) > position else ""
        return self.graph.weight(name) if name in self.graph.weights else None

    def number(self, name: str, default: float) -> float:
        """Returns a numeric attribute."""
        return attribute_float(self.node, name, default)

    def integers(self, name: str) -> Sequence[int]:
        """Returns an attribute that is a list; empty if it is not there."""
        return attribute_ints(self.node, name)

    def text(self, name: str, default: str) -> str:
        """Returns an attribute that is a word."""
        return attribute_text(self.node, name, default)

    def beyond(self, name: str, limits: tuple[int, int]) -> str | None:
        """Returns a sentence if a number in a list lies beyond the limits."""
        low, high = limits
        values = self.integers(name)
        if all(low <= value <= high for value in values):
            return None
        return f"{name} is {list(values)}; the DLA takes {low} to {high}"
