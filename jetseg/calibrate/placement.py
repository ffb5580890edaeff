"""Where quantizers stand: it decides accuracy and speed more than how ranges are chosen."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from jetseg.calibrate.graph import FloatGraph

FUSED_ACTIVATIONS = frozenset({"Relu", "Clip"})
"""Activations that a quantizer after them absorbs: clipping at its bounds does the same work."""
SAME_RANGE = frozenset({"MaxPool", "Resize", "Upsample", "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze"})
"""Operators whose output values lie within their input's range: they share its quantizer."""
INTEGER_OPERATORS = frozenset({"Add", "Concat", "AveragePool", "GlobalAveragePool"})
"""Operators that ONNX Runtime runs on 8-bit integers when all they touch is quantized."""


@dataclass(frozen=True)
class Placement:
    """The quantizers of a network.

    Attributes:
        activations: Activation tensor to quantize -> tensor whose range it uses (mostly itself).
        weights: Initializer to quantize per output channel -> axis of the output channels.
        integer_nodes: Nodes that run on integers, each by its first output; what else there is runs in float.
    """

    activations: dict[str, str]
    weights: dict[str, int]
    integer_nodes: frozenset[str]


def observed_tensors(graph: FloatGraph) -> tuple[str, ...]:
    """Returns the activations that some placement may quantize, in graph order, without those that share a range."""
    names: dict[str, None] = {}
    for node in graph.model.graph.node:
        if is_matrix_layer(graph, node):
            names[node.input[0]] = None
            names[absorbed_output(graph, node)] = None
        elif node.op_type in INTEGER_OPERATORS:
            activations = [name for name in node.input if name and name not in graph.weights]
            names.update(dict.fromkeys([*activations, absorbed_output(graph, node)]))
    return tuple(dict.fromkeys(range_source(graph, name) for name in names))


def place_for_integer_kernels(graph: FloatGraph) -> Placement:
    """Places quantizers for backends whose integer convolutions also write integers, as ONNX Runtime's do.

    A convolution reads and writes 8-bit values; additions, concatenations and poolings between such convolutions
    stay on integers. The last convolutions before the output stay in float: they are cheap, and their scores
    decide the class.
    """
    heads = _head_layers(graph)
    activations: dict[str, str] = {}
    weights: dict[str, int] = {}
    integer_nodes: set[str] = set()
    for node in graph.model.graph.node:
        if node.op_type == "Conv" and is_matrix_layer(graph, node) and node.output[0] not in heads:
            output = absorbed_output(graph, node)
            activations[node.input[0]] = range_source(graph, node.input[0])
            activations[output] = output
            weights[node.input[1]] = 0
            integer_nodes.update((node.output[0], output))
    _extend_over_integer_operators_(graph, activations, integer_nodes)
    return Placement(activations, weights, frozenset(integer_nodes))


def is_matrix_layer(graph: FloatGraph, node: onnx.NodeProto) -> bool:
    """Tells whether a node multiplies an activation with a constant weight matrix or kernel."""
    return (
        node.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul")
        and node.input[0] not in graph.weights
        and node.input[1] in graph.weights
    )


def absorbed_output(graph: FloatGraph, node: onnx.NodeProto) -> str:
    """Returns the output of a node, or that of the activation that alone reads it and fuses with it."""
    reader = graph.only_consumer(node.output[0])
    if reader is not None and reader.op_type in FUSED_ACTIVATIONS:
        return str(reader.output[0])
    return str(node.output[0])


def range_source(graph: FloatGraph, name: str) -> str:
    """Follows a tensor up through operators that keep its range."""
    node = graph.producer.get(name)
    while node is not None and node.op_type in SAME_RANGE:
        name = node.input[0]
        node = graph.producer.get(name)
    return name


def _extend_over_integer_operators_(graph: FloatGraph, activations: dict[str, str], integer_nodes: set[str]) -> None:
    """Adds the outputs of operators that can stay on integers because all they read is quantized."""
    for node in graph.model.graph.node:
        reads = [name for name in node.input if name and name not in graph.weights]
        if not reads or any(name not in activations for name in reads):
            continue
        if node.op_type in SAME_RANGE:
            activations.setdefault(node.output[0], activations[reads[0]])
            integer_nodes.add(node.output[0])
        elif node.op_type in INTEGER_OPERATORS and len(reads) == sum(1 for name in node.input if name):
            output = absorbed_output(graph, node)
            activations.setdefault(output, output)
            integer_nodes.update((node.output[0], output))


def _head_layers(graph: FloatGraph) -> set[str]:
    """Returns the outputs of the convolutions from which no other convolution follows."""
    reaches_layer: set[str] = set()
    heads = set()
    for node in reversed(graph.model.graph.node):
        if any(name in reaches_layer for name in node.output):
            reaches_layer.update(node.input)
        elif is_matrix_layer(graph, node):
            heads.add(node.output[0])
        if is_matrix_layer(graph, node):
            reaches_layer.update(node.input)
    return heads
