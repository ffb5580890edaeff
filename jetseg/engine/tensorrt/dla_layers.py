"""What the rules of the deep-learning accelerator look at: a node, and its tensors' shapes and types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from jetseg.onnx.graph import FloatGraph, attribute

FREE = frozenset({"QuantizeLinear", "DequantizeLinear", "Identity", "Dropout", "Constant"})
"""Operators that leave no layer behind."""


@dataclass(frozen=True)
class Tensors:
    """Shapes and types of a network's tensors, as far as they can be inferred.

    Attributes:
        shapes: Sizes by name; None stands for any.
        types: ONNX data types by name.
    """

    shapes: Mapping[str, tuple[int | None, ...]]
    types: Mapping[str, int]


def infer_tensors(model: onnx.ModelProto) -> Tensors:
    """Infers shapes and types of all tensors of a network, constants included."""
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes: dict[str, tuple[int | None, ...]] = {}
    types: dict[str, int] = {}
    for port in (*inferred.input, *inferred.value_info, *inferred.output):
        kind = port.type.tensor_type
        types[port.name] = kind.elem_type
        if kind.HasField("shape"):
            dims = kind.shape.dim
            shapes[port.name] = tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in dims)
    for tensor in inferred.initializer:
        shapes[tensor.name], types[tensor.name] = tuple(tensor.dims), tensor.data_type
    return Tensors(shapes, types)


@dataclass(frozen=True)
class Layer:
    """A node, with what is known about its tensors."""

    graph: FloatGraph
    tensors: Tensors
    node: onnx.NodeProto

    def shape(self, name: str) -> tuple[int | None, ...]:
        """Returns a tensor's sizes; none if unknown."""
        return self.tensors.shapes.get(name, ())

    def is_constant(self, position: int) -> bool:
        """Tells whether an input is a weight, quantized or not."""
        name = self.node.input[position]
        producer = self.graph.producer.get(name)
        while producer is not None and producer.op_type in FREE and producer.input:
            name = producer.input[0]
            producer = self.graph.producer.get(name)
        return name in self.graph.weights

    def constant(self, position: int) -> npt.NDArray[Any] | None:
        """Returns a weight's values; None if the input is not there or computed."""
        name = self.node.input[position] if len(self.node.input) > position else ""
        return np.asarray(numpy_helper.to_array(self.graph.weights[name])) if name in self.graph.weights else None

    def number(self, name: str, default: float) -> float:
        """Returns a numeric attribute."""
        return attribute(self.node, name, default)

    def integers(self, name: str) -> Sequence[int]:
        """Returns an attribute that is a list; empty if it is not there."""
        return next((tuple(entry.ints) for entry in self.node.attribute if entry.name == name), ())

    def text(self, name: str, default: str) -> str:
        """Returns an attribute that is a word."""
        return next((entry.s.decode() for entry in self.node.attribute if entry.name == name), default)

    def beyond(self, name: str, limits: tuple[int, int]) -> str | None:
        """Returns a sentence if a number in a list lies beyond the limits."""
        low, high = limits
        values = self.integers(name)
        if all(low <= value <= high for value in values):
            return None
        return f"{name} is {list(values)}; the DLA takes {low} to {high}"
