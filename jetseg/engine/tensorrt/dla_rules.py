"""Which layers the deep-learning accelerator of a Jetson takes, by NVIDIA's published limits; no device told it.

The rules are those of "DLA Supported Layers and Restrictions" in NVIDIA's TensorRT documentation
(docs.nvidia.com/deeplearning/tensorrt, under "Working with DLA"), taken from a summary of that page; pooling windows,
resize factors and padding are from memory and to be compared with it. TensorRT itself decides at build time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, numpy_helper

from jetseg.calibrate.graph import FloatGraph, attribute

_LARGEST_SIZE = 8192
FREE = frozenset({"QuantizeLinear", "DequantizeLinear", "Identity", "Dropout", "Constant"})
"""Operators that leave no layer behind."""
_ACTIVATIONS = frozenset({"Relu", "Sigmoid", "Tanh", "LeakyRelu"})
_PAIRS = frozenset({"Add", "Sub", "Mul", "Max", "Min", "Div", "Pow"})
_SINGLES = frozenset({"Abs", "Sin", "Cos", "Atan", "LRN", "BatchNormalization"})
_FLOATS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16})


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


def dla_refusal(layer: Layer) -> str | None:
    """Returns why the DLA does not take a node; None if it does."""
    graph, tensors, node = layer.graph, layer.tensors, layer.node
    data = [name for name in (*node.input, node.output[0]) if name and name not in graph.weights]
    if any(tensors.types.get(name) not in _FLOATS for name in data):
        return "it touches integers or an unknown type"
    for name in data:
        shape = tensors.shapes.get(name)
        if shape is None or None in shape:
            return "a shape is not fixed"
        if len(shape) != 4:
            return f"a tensor has {len(shape)} dimensions, and 4 are needed"
        if any(size is not None and size > _LARGEST_SIZE for size in shape[1:]):
            return f"a dimension is larger than {_LARGEST_SIZE}"
    if node.op_type in _ACTIVATIONS | _SINGLES:
        return None
    rule = _RULES.get(node.op_type)
    return rule(layer) if rule else f"the DLA has no {node.op_type}"


Rule = Callable[[Layer], str | None]


def _convolution(layer: Layer) -> str | None:
    if not layer.is_constant(1):
        return "its weights are computed"
    return (
        layer.beyond("kernel_shape", (1, 32))
        or layer.beyond("strides", (1, 8))
        or layer.beyond("pads", (0, 31))
        or layer.beyond("dilations", (1, 32))
    )


def _deconvolution(layer: Layer) -> str | None:
    if layer.number("group", 1) != 1:
        return "a transposed convolution has groups"
    if any(size != 1 for size in layer.integers("dilations")):
        return "a transposed convolution is dilated"
    if any(layer.integers("pads")) or any(layer.integers("output_padding")):
        return "a transposed convolution is padded"
    return layer.beyond("kernel_shape", (1, 32)) or layer.beyond("strides", (1, 32))


def _pooling(layer: Layer) -> str | None:
    return layer.beyond("kernel_shape", (1, 8)) or layer.beyond("pads", (0, 7)) or layer.beyond("strides", (1, 16))


def _clip(layer: Layer) -> str | None:
    low = layer.constant(1)
    return None if low is not None and low.size == 1 and float(low.item()) == 0 else "a Clip does not begin at 0"


def _prelu(layer: Layer) -> str | None:
    return None if layer.is_constant(1) else "its slopes are computed"


def _pair(layer: Layer) -> str | None:
    """Takes two operands of one size, or one that is spread over the other as NC11 or N111."""
    output = layer.shape(layer.node.output[0])
    for name in layer.node.input:
        shape = (1,) * (4 - len(layer.shape(name))) + layer.shape(name)
        if shape != output and (shape[2:] != (1, 1) or shape[1] not in (1, output[1])):
            return f"an operand of shape {list(shape)} is spread over {list(output)}"
    return None


def _concat(layer: Layer) -> str | None:
    return None if layer.number("axis", 1) in (1, -3) else "it joins along another axis than the channels"


def _resize(layer: Layer) -> str | None:
    before, after = layer.shape(layer.node.input[0]), layer.shape(layer.node.output[0])
    scales = [new / old for old, new in zip(before[2:], after[2:], strict=True) if old and new]
    mode = layer.text("mode", "nearest")
    largest = {"nearest": 32, "linear": 4}.get(mode)
    if largest is None:
        return f"it resizes by {mode} interpolation"
    if before[:2] != after[:2] or any(scale != math.floor(scale) or not 1 <= scale <= largest for scale in scales):
        given = " x ".join(f"{scale:g}" for scale in scales)
        return f"it resizes by {given}; {mode} takes whole numbers from 1 to {largest}"
    how = layer.text("coordinate_transformation_mode", "half_pixel")
    if mode == "linear" and how not in ("half_pixel", "pytorch_half_pixel"):
        return f"linear interpolation with {how} coordinates"
    return None


def _softmax(layer: Layer) -> str | None:
    return None if layer.number("axis", -1) in (1, 2, 3, -1, -2, -3) else "it runs over the batch"


def _slice(layer: Layer) -> str | None:
    steps = layer.constant(4)
    static = all(layer.constant(position) is not None for position in (1, 2))
    return None if static and (steps is None or np.all(steps == 1)) else "it skips values, or its bounds are computed"


def _shuffle(layer: Layer) -> str | None:
    batches = layer.shape(layer.node.input[0])[0] == layer.shape(layer.node.output[0])[0]
    moved = layer.integers("perm")
    return None if batches and (not moved or moved[0] == 0) else "it touches the batch"


def _reduce_max(layer: Layer) -> str | None:
    return None if layer.number("keepdims", 1) == 1 else "it drops dimensions"


_RULES: dict[str, Rule] = {
    "Conv": _convolution,
    "ConvTranspose": _deconvolution,
    "MaxPool": _pooling,
    "AveragePool": _pooling,
    "Clip": _clip,
    "PRelu": _prelu,
    "Concat": _concat,
    "Resize": _resize,
    "Softmax": _softmax,
    "Slice": _slice,
    "Transpose": _shuffle,
    "Reshape": _shuffle,
    "ReduceMax": _reduce_max,
    **dict.fromkeys(_PAIRS, _pair),
}
