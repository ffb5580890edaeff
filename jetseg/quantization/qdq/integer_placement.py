"""Where quantizers stand for ONNX Runtime and LiteRT: convolutions between integers, and what runs beside them."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, replace

import onnx

from jetseg.onnx.graph import Graph
from jetseg.quantization.qdq.kernels import is_activation_product, is_matrix_layer
from jetseg.quantization.qdq.placement import (
    BETWEEN_ZERO_AND_ONE,
    FLOAT_WRITERS,
    INTEGER_OPERATORS,
    SAME_RANGE,
    Placement,
    absorbed_output,
    output_axis,
    range_source,
    runs_on_integers,
)


@dataclass(frozen=True)
class IntegerKernels:
    """The operators that a runtime has integer kernels for, beside convolutions.

    Attributes:
        operators: Those whose output has a quantizer of its own, as far as `runs_on_integers`.
        products: Whether matrix products read integers and write float.
        same_range: Those whose output has the quantizer of their input.
        heads: Whether the last layers, and what follows them, are on integers as well.
        vectors: Whether convolutions of one position are on integers, as those of gates that see the whole image.
            They take next to no time, and what they lose every pixel loses.
    """

    operators: frozenset[str]
    products: bool = True
    same_range: frozenset[str] = SAME_RANGE
    heads: bool = False
    vectors: bool = True


ONNX_RUNTIME = IntegerKernels(INTEGER_OPERATORS | {"ReduceMean"}, vectors=False)
LITERT = IntegerKernels(frozenset({"Add", "Mul", "Concat"}), products=False)
"""XNNPACK has no average pooling on integers; its matrix products on integers write integers, where what follows in a
transformer needs float."""
LITERT_WHOLE = replace(LITERT, same_range=SAME_RANGE | {"AveragePool", "GlobalAveragePool"}, heads=True)
"""For chips that compute on integers only: LiteRT's own kernel for an average pooling has one scale on both sides."""


def place_for_integer_kernels(
    graph: Graph,
    keep_float: frozenset[str] = frozenset(),
    products: frozenset[str] = frozenset(),
    ranges: Container[str] | None = None,
    kernels: IntegerKernels = ONNX_RUNTIME,
) -> Placement:
    """Places quantizers for backends whose integer convolutions also write integers, as ONNX Runtime's do.

    A convolution reads and writes 8-bit values; additions, products, activations, concatenations and poolings between
    such convolutions stay on integers. A matrix product with constant weights, as in transformers, reads 8-bit values
    and writes float, because what follows it (bias, attention, GELU) is float. The last layers before the output stay
    in float: they are cheap, and their scores decide the class.

    Args:
        graph: The float network.
        keep_float: Layers and operators, by output, that stay in float.
        products: Products of two activations, by output, that read 8-bit values, both unsigned: of signed ones the
            AVX2 kernels would saturate.
        ranges: Tensors with a range; operators between layers stay in float without one, which an earlier version of
            jetseg did not observe. None stands for all tensors.
        kernels: What else the backend has integer kernels for.
    """
    last = keep_float if kernels.heads else _head_layers(graph) | keep_float
    if not kernels.vectors:
        last |= {node.output[0] for node in graph.nodes if node.op_type == "Conv" and _is_vector(graph, node.output[0])}
    activations: dict[str, str] = {}
    weights: dict[str, int] = {}
    integer_nodes: set[str] = set()
    for node in graph.nodes:
        if node.output[0] in products - keep_float and is_activation_product(graph, node):
            activations.update((name, _source(graph, name, kernels, ranges)) for name in node.input)
            integer_nodes.add(node.output[0])
        constant = all(name in graph.weights for name in node.input[1:] if name)
        if not (is_matrix_layer(graph, node) and constant) or node.output[0] in last:
            continue
        if node.op_type == "Conv":
            output = absorbed_output(graph, node)
            activations[output] = output
            integer_nodes.add(output)
        elif node.op_type not in FLOAT_WRITERS or not kernels.products:
            continue
        activations[node.input[0]] = _source(graph, node.input[0], kernels, ranges)
        weights[node.input[1]] = output_axis(node)
        integer_nodes.add(node.output[0])
    wanted = set(graph.outputs) if kernels.heads else set[str]()
    _extend_over_integer_operators_(graph, activations, integer_nodes, keep_float, ranges, kernels, wanted)
    _quantize_before_joining_(graph, activations, integer_nodes, keep_float, kernels)
    shares = (name for name in activations if _is_share(graph, name))
    return Placement(activations, weights, frozenset(integer_nodes), integer_outputs=True, shares=frozenset(shares))


def _source(graph: Graph, name: str, kernels: IntegerKernels, ranges: Container[str] | None) -> str:
    """Returns the tensor whose range a tensor has; its own where that of what it is made of is not known."""
    found = graph.origin(name, kernels.same_range)
    return found if ranges is None or found in ranges else range_source(graph, name)


def _is_vector(graph: Graph, name: str) -> bool:
    """Tells whether a tensor has one position, as what is seen of the whole image."""
    return (graph.shapes.get(name) or ())[2:] == (1, 1)


def _is_share(graph: Graph, name: str) -> bool:
    return name in graph.producer and graph.producer[name].op_type in BETWEEN_ZERO_AND_ONE


def _extend_over_integer_operators_(
    graph: Graph,
    activations: dict[str, str],
    integer_nodes: set[str],
    keep_float: frozenset[str],
    ranges: Container[str] | None,
    kernels: IntegerKernels,
    wanted: set[str],
) -> None:
    """Adds the outputs of operators that can stay on integers because all they read is quantized.

    An operator whose result only float operators read stays in float: rounding it would cost accuracy for nothing. What
    is pooled to one position for a convolution in float is pooled on integers all the same, and what comes of that is
    rounded where it meets the image again, which so need not leave the integers.
    """
    wanted = wanted | {name for node in graph.nodes if node.output[0] in integer_nodes for name in node.input}
    vectors = {name for node in graph.nodes for name in node.output if not kernels.vectors and _is_vector(graph, name)}
    loose = {name for name in vectors if ranges is None or name in ranges or _is_share(graph, name)}
    found: dict[str, tuple[onnx.NodeProto, str]] = {}
    for node in graph.nodes:
        reads = {name for name in node.input if name and name not in graph.constants}
        between = node.output[0] in vectors and reads <= vectors
        if node.output[0] in keep_float or not reads or between or not reads <= {*activations, *found, *loose}:
            continue
        if node.op_type in kernels.same_range:
            found[node.output[0]] = node, node.output[0]
        elif node.op_type in kernels.operators and runs_on_integers(graph, node):
            output = absorbed_output(graph, node)
            if ranges is None or output in ranges or _is_share(graph, output):
                found[output] = node, node.output[0]
    for output, (node, name) in reversed(found.items()):
        if output in wanted or output in vectors:
            wanted.update(node.input)
            integer_nodes.update((name, output))
    for output, (node, _) in found.items():
        if output in integer_nodes:
            activations.update((name, activations.get(name, name)) for name in node.input if name in loose)
            source = activations[node.input[0]] if node.op_type in kernels.same_range else output
            activations.setdefault(output, source)


def _quantize_before_joining_(
    graph: Graph,
    activations: dict[str, str],
    integer_nodes: set[str],
    keep_float: frozenset[str],
    kernels: IntegerKernels,
) -> None:
    """Quantizes what a concatenation reads, with its scale, and joins bytes: the same values as if it joined floats.

    So it is where integer operators alone read the concatenation, and nothing that it reads has another scale.
    """
    for node in graph.nodes:
        name = node.output[0]
        joins = node.op_type == "Concat" and node.op_type in kernels.operators and runs_on_integers(graph, node)
        if not joins or name not in activations or name in integer_nodes | keep_float | set(graph.outputs):
            continue
        inner = all(reader.output[0] in integer_nodes for reader in graph.readers(name))
        loose = [read for read in node.input if read not in activations]
        others = [read for read in node.input if read in activations and not _is_written(graph, read, integer_nodes)]
        if inner and not others:
            integer_nodes.add(name)
            activations.update(dict.fromkeys(loose, activations[name]))


def _is_written(graph: Graph, name: str, integer_nodes: Container[str]) -> bool:
    """Tells whether an integer operator makes a tensor."""
    producer = graph.producer.get(name)
    return producer is not None and producer.op_type not in FLOAT_WRITERS and producer.output[0] in integer_nodes


def _head_layers(graph: Graph) -> set[str]:
    """Returns the outputs of the layers from which no other layer follows."""
    reaches_layer: set[str] = set()
    heads = set()
    for node in reversed(graph.nodes):
        if any(name in reaches_layer for name in node.output):
            reaches_layer.update(node.input)
        elif is_matrix_layer(graph, node):
            heads.add(node.output[0])
        if is_matrix_layer(graph, node):
            reaches_layer.update(node.input)
    return heads
