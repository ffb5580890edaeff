"""Counts the parameters and multiply-accumulates of a network, in float or in int8, from its ONNX graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import onnx
from onnx import shape_inference

from jetseg.manifest import Manifest
from jetseg.onnx.file import load_onnx

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]


@dataclass(frozen=True)
class Cost:
    """What a network costs, whatever runs it.

    Attributes:
        parameters: Numbers that training sets: weights, biases, normalization gains and offsets, slopes; int8
            or float. Running statistics, scales and zero points do not count.
        macs: Multiply-accumulates of one frame in convolutions and matrix products; None where a shape in the
            graph depends on the data.
    """

    parameters: int
    macs: int | None


def onnx_cost(path: Path, manifest: Manifest | None = None) -> Cost:
    """Counts the cost of an ONNX file.

    Args:
        path: The file.
        manifest: Its manifest; gives the image size where the graph leaves it open.

    Raises:
        ArtifactError: The file is missing, or not a whole ONNX file.
    """
    model = load_onnx(path, weights=False)
    return graph_cost(model, _input_shape(manifest) if manifest else None)


def graph_cost(model: onnx.ModelProto, input_shape: Shape | None = None) -> Cost:
    """Counts the cost of an ONNX model in memory; see `onnx_cost`.

    Args:
        model: The model; it is not changed.
        input_shape: Shape of the image input, used for the dimensions that the graph leaves open.
    """
    shapes = _known_shapes(model, input_shape)
    macs: int | None = 0
    for node in model.graph.node:
        count = _MACS.get(node.op_type)
        if count is None or macs is None:
            continue
        try:
            macs += count(node, shapes)
        except KeyError:  # a shape that only the data decides
            macs = None
    return Cost(parameters=_count_parameters(model.graph, shapes), macs=macs)


def _input_shape(manifest: Manifest) -> Shape:
    spec = manifest.input
    if spec.kind == "frame":
        return (1, spec.height, spec.width, 3)
    return (1, spec.channels, spec.height, spec.width)


def _known_shapes(model: onnx.ModelProto, input_shape: Shape | None) -> dict[str, Shape]:
    """Infers the shape of every tensor that does not depend on data."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    graph = fixed.graph
    held = {tensor.name for tensor in graph.initializer}
    if input_shape is not None:
        for value in graph.input:
            dimensions = value.type.tensor_type.shape.dim
            if value.name not in held and len(dimensions) == len(input_shape):
                for dimension, size in zip(dimensions, input_shape, strict=True):
                    if not dimension.dim_value:
                        dimension.dim_value = size
                break
    # what the exporter noted may hold open dimensions that are known now
    del graph.value_info[:]
    graph = shape_inference.infer_shapes(fixed, data_prop=True).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        shape = tuple(dimension.dim_value for dimension in kind.shape.dim)
        if kind.HasField("shape") and all(shape):
            shapes.setdefault(value.name, shape)
    return shapes


def _convolution(node: onnx.NodeProto, shapes: Shapes) -> int:
    """Every output value takes one product per weight of its filter."""
    weight = shapes[node.input[_WEIGHT_POSITION[node.op_type]]]
    return prod(shapes[node.output[0]]) * prod(weight[1:])


def _transposed_convolution(node: onnx.NodeProto, shapes: Shapes) -> int:
    """Every input value is multiplied with all weights that leave its channel."""
    return prod(shapes[node.input[0]]) * prod(shapes[node.input[1]][1:])


def _matrix_product(node: onnx.NodeProto, shapes: Shapes) -> int:
    """Every output value takes one product per element of the dimension that is summed over."""
    first = shapes[node.input[0]]
    transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
    summed = first[0] if transposed else first[-1]
    return prod(shapes[node.output[0]]) * summed


_MACS: dict[str, Callable[[onnx.NodeProto, Shapes], int]] = {
    "Conv": _convolution,
    "ConvInteger": _convolution,
    "QLinearConv": _convolution,
    "ConvTranspose": _transposed_convolution,
    "Gemm": _matrix_product,
    "MatMul": _matrix_product,
    "MatMulInteger": _matrix_product,
    "QLinearMatMul": _matrix_product,
}
_WEIGHT_POSITION = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3}

_LEARNED_INPUTS: dict[str, Sequence[int]] = {
    "Conv": (1, 2),
    "ConvInteger": (1,),
    "QLinearConv": (3, 8),
    "ConvTranspose": (1, 2),
    "Gemm": (0, 1, 2),
    "MatMul": (0, 1),
    "MatMulInteger": (0, 1),
    "QLinearMatMul": (0, 3),
    "BatchNormalization": (1, 2),
    "InstanceNormalization": (1, 2),
    "LayerNormalization": (1, 2),
    "PRelu": (1,),
}
"""Where each operator takes what training sets."""

_CARRIERS = {
    "QuantizeLinear",
    "DequantizeLinear",
    "Identity",
    "Cast",
    "Transpose",
    "Reshape",
    "Unsqueeze",
    "Squeeze",
}
"""Operators through which a constant stays the same numbers."""


def _count_parameters(graph: onnx.GraphProto, shapes: Shapes) -> int:
    makers = {name: node for node in graph.node for name in node.output}
    stored = {tensor.name for tensor in graph.initializer}
    written = {name for name, node in makers.items() if node.op_type in ("Constant", "ConstantOfShape")}
    counted = set()
    for operator, name in _learned_tensors(graph):
        # a matrix written into the graph is a fixed one, such as an interpolation; a trained one is stored
        held = stored if operator == "MatMul" else stored | written
        source = _constant_source(name, held, makers)
        if source is not None:
            counted.add(source)
    return sum(prod(shapes.get(name, ())) for name in counted)


def _learned_tensors(graph: onnx.GraphProto) -> Iterator[tuple[str, str]]:
    """Yields operator and tensor name wherever an operator takes what training may have set."""
    for node in graph.node:
        for position in _LEARNED_INPUTS.get(node.op_type, ()):
            if position < len(node.input) and node.input[position]:
                yield node.op_type, node.input[position]


def _constant_source(name: str, held: set[str], makers: Mapping[str, onnx.NodeProto]) -> str | None:
    """Follows a tensor back to the constant that it holds, or returns None if it depends on the image."""
    while name not in held:
        node = makers.get(name)
        if node is None or node.op_type not in _CARRIERS:
            return None
        name = node.input[0]
    return name
