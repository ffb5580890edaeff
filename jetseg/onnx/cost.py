"""Counts the parameters and multiply-accumulates of a network, in float or in int8, from its ONNX graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TypeGuard

import onnx

from jetseg.manifest import Manifest
from jetseg.onnx.file import load_onnx
from jetseg.onnx.graph import Graph
from jetseg.onnx.node import attribute_int, attribute_text
from jetseg.onnx.signature import input_shape

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


def onnx_cost(path: Path, manifest: Manifest | None = None, sha256: str | None = None) -> Cost:
    """Counts the cost of an ONNX file.

    Args:
        path: The file.
        manifest: Its manifest; gives the image size where the graph leaves it open.
        sha256: The hash that it had when it was checked.

    Raises:
        ArtifactError: The file is missing, or not a whole ONNX file.
    """
    model = load_onnx(path, sha256)
    return graph_cost(model, input_shape(manifest.input) if manifest else None)


def graph_cost(model: onnx.ModelProto, shape: Shape | None = None) -> Cost:
    """Counts the cost of an ONNX model in memory; see `onnx_cost`.

    Args:
        model: The model; it is not changed.
        shape: Shape of the image input, used for the dimensions that the graph leaves open.
    """
    graph = _sized(Graph(model), shape)
    counts = list(_macs_by_product(graph).values())
    macs = None if None in counts else sum(filter(None, counts))
    return Cost(parameters=_count_parameters(graph, _fixed_shapes(graph)), macs=macs)


def products(graph: Graph) -> tuple[str, ...]:
    """Returns the convolutions and matrix products, each by its first output.

    All count, whether what is multiplied was learned or is computed, as the two products of an attention are.
    """
    return tuple(node.output[0] for node in graph.nodes if node.op_type in _MACS)


def product_macs(graph: Graph, shape: Shape | None = None) -> dict[str, int]:
    """Counts the multiply-accumulates of each of the `products`.

    Args:
        graph: The float network; it is not changed.
        shape: As in `graph_cost`.

    Returns:
        Counts in graph order; nothing where a shape in the graph depends on the data.
    """
    counts = _macs_by_product(_sized(graph, shape))
    known = {name: count for name, count in counts.items() if count is not None}
    return known if len(known) == len(counts) else {}


def _sized(graph: Graph, shape: Shape | None) -> Graph:
    """Returns the graph with its image input of a given shape, where the file leaves that open."""
    image = next((name for name in graph.inputs if len(graph.shapes.get(name, ())) == len(shape or ())), None)
    if shape is None or image is None:
        return graph
    graph = graph.copy()
    graph.fix_input_size(image, dict(enumerate(shape)))
    return graph


def _macs_by_product(graph: Graph) -> dict[str, int | None]:
    shapes, found = _fixed_shapes(graph), dict[str, int | None]()
    for node in graph.nodes:
        if node.op_type in _MACS:
            try:
                found[node.output[0]] = _MACS[node.op_type](node, shapes)
            except KeyError:  # a shape that only the data decides
                found[node.output[0]] = None
    return found


def _fixed_shapes(graph: Graph) -> Shapes:
    return {name: sizes for name, sizes in graph.shapes.items() if _is_fixed(sizes)}


def _is_fixed(sizes: Sequence[int | None]) -> TypeGuard[Shape]:
    return all(sizes)


def _convolution(node: onnx.NodeProto, shapes: Shapes) -> int:
    """Every output value takes one product per weight of its filter."""
    weight = shapes[node.input[_LEARNED_INPUTS[node.op_type][0]]]
    return prod(shapes[node.output[0]]) * prod(weight[1:])


def _transposed_convolution(node: onnx.NodeProto, shapes: Shapes) -> int:
    """Every input value is multiplied with all weights that leave its channel."""
    return prod(shapes[node.input[0]]) * prod(shapes[node.input[1]][1:])


def _matrix_product(node: onnx.NodeProto, shapes: Shapes) -> int:
    """Every output value takes one product per element of the dimension that is summed over."""
    first = shapes[node.input[0]]
    summed = first[0] if attribute_int(node, "transA", 0) else first[-1]
    return prod(shapes[node.output[0]]) * summed


def _einsum(node: onnx.NodeProto, shapes: Shapes) -> int:
    """Every combination of all indices takes one product; of a single operand none."""
    terms = attribute_text(node, "equation", "").replace(" ", "").split("->")[0].split(",")
    sizes: dict[str | int, int] = {}
    for term, name in zip(terms, node.input, strict=True):
        before, dots, after = term.partition("...")
        spread = len(shapes[name]) - len(before) - len(after)
        if spread < 0 or (spread and not dots):
            raise KeyError(node.output[0])
        # the axes that an ellipsis stands for are the same from the last one on, and of size 1 where they are repeated
        for index, size in zip([*before, *range(-spread, 0), *after], shapes[name], strict=True):
            sizes[index] = max(size, sizes.get(index, 1))
    return prod(sizes.values()) if len(terms) > 1 else 0


def _attention(node: onnx.NodeProto, shapes: Shapes) -> int:
    """Both products: of queries and keys, and of their likeness and the values."""
    queries, keys, mixed = (shapes[name] for name in (*node.input[:2], node.output[0]))
    return (prod(queries) + prod(mixed)) * keys[-2]


_MACS: dict[str, Callable[[onnx.NodeProto, Shapes], int]] = {
    "Conv": _convolution,
    "ConvInteger": _convolution,
    "QLinearConv": _convolution,
    "ConvTranspose": _transposed_convolution,
    "Attention": _attention,
    "Einsum": _einsum,
    "Gemm": _matrix_product,
    "MatMul": _matrix_product,
    "MatMulInteger": _matrix_product,
    "QLinearMatMul": _matrix_product,
}

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


def _count_parameters(graph: Graph, shapes: Shapes) -> int:
    counted = set()
    for operator, name in _learned_tensors(graph):
        source = graph.origin(name, _CARRIERS)
        producer = graph.producer.get(source)
        # a matrix written into the graph is a fixed one, such as an interpolation; a trained one is stored
        written = producer is not None and producer.op_type in ("Constant", "ConstantOfShape") and operator != "MatMul"
        if source in graph.weights or written:
            counted.add(source)
    return sum(prod(shapes.get(name, ())) for name in counted)


def _learned_tensors(graph: Graph) -> Iterator[tuple[str, str]]:
    """Yields operator and tensor name wherever an operator takes what training may have set."""
    for node in graph.nodes:
        for position in _LEARNED_INPUTS.get(node.op_type, ()):
            if position < len(node.input) and node.input[position]:
                yield node.op_type, node.input[position]
