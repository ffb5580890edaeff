"""Says whether a Q/DQ network is legal and good for TensorRT's explicit quantization, before a device sees it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx

from jetseg.onnx.graph import Graph
from jetseg.onnx.node import attribute_int, attribute_ints
from jetseg.onnx.quantizers import (
    DEQUANTIZE,
    QUANTIZE,
    before_quantizers,
    integer_type,
    of_type,
    only_reader,
    quantizer_constant,
    quantizer_roots,
)
from jetseg.quantization.qdq.placement import output_axis

CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})
LAYERS = CONVOLUTIONS | {"MatMul", "Gemm"}
ACTIVATIONS = frozenset({"Relu", "Clip", "PRelu", "LeakyRelu", "Sigmoid"})
"""Activations that TensorRT computes in the kernel of the convolution before them."""
UNKNOWN_OPERATORS = frozenset(
    (  # noqa: SIM905 - so many names read better in lines
        "AffineGrid Bernoulli BitCast BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor CenterCropPad Col2Im "
        "Compress ConcatFromSequence ConvInteger CumProd DFT DeformConv Det DynamicQuantizeLinear ImageDecoder "
        "MatMulInteger MaxRoiPool MaxUnpool MelWeightMatrix Multinomial NegativeLogLikelihoodLoss Optional "
        "OptionalGetElement OptionalHasElement QLinearConv QLinearMatMul RegexFullMatch SequenceAt "
        "SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength SequenceMap "
        "SoftmaxCrossEntropyLoss SplitToSequence StringConcat StringNormalizer StringSplit SwiGLU TfIdfVectorizer "
        "Unique"
    ).split()
)
"""Operators of ONNX that the parser of TensorRT-RTX 1.7.1 says it lacks; a test asks it about every one."""


@dataclass(frozen=True)
class Violation:
    """One thing that is wrong with a network.

    Attributes:
        place: Output tensor of the node that it is about.
        found: What is wrong.
        fix: What to do.
    """

    place: str
    found: str
    fix: str

    def __str__(self) -> str:
        return f"{self.place}: {self.found} {self.fix}"


def check_qdq(model: onnx.ModelProto) -> list[Violation]:
    """Checks a Q/DQ network against the rules of TensorRT's explicit quantization.

    Some breaches make TensorRT's parser refuse the network. Others it takes in silence: it reads uint8 as int8, runs
    a layer in float whose scales lie on the wrong axis, and rounds between layers that are one kernel. Nested
    graphs are not looked at.

    Args:
        model: ONNX network, its weights loaded.

    Returns:
        What is wrong, rule by rule and in graph order; empty if all is well.
    """
    graph = Graph(model)
    rules = (_operators, _types, _zero_points, _scales, _granularity, _pairs, _readers, _ends, _fusions, _additions)
    return [violation for rule in rules for violation in rule(graph)]


def _operators(graph: Graph) -> Iterator[Violation]:
    for node in of_type(graph, *UNKNOWN_OPERATORS):
        yield Violation(
            node.output[0],
            f"TensorRT's parser has no operator {node.op_type}.",
            "Export the layer as float operators with quantizers before it.",
        )


def _types(graph: Graph) -> Iterator[Violation]:
    for node in quantizer_roots(graph):
        found = integer_type(graph, node)
        if found == "int32":
            yield Violation(
                node.output[0], "a bias is quantized to int32, which TensorRT does not read.", "Leave biases float."
            )
        elif found not in ("int8", "float8e4m3fn", None):
            yield Violation(
                node.output[0], f"{node.op_type} uses {found}.", "Quantize to int8, symmetric, with zero point 0."
            )


def _zero_points(graph: Graph) -> Iterator[Violation]:
    for node in quantizer_roots(graph):
        zero_point = quantizer_constant(graph, node, 2)
        if zero_point is None:
            yield Violation(node.output[0], "its zero point is computed.", "Make it a constant 0.")
        elif np.any(zero_point != 0):
            yield Violation(
                node.output[0], "its zero point is not 0.", "Quantize symmetrically: int8, zero point 0, amax / 127."
            )


def _scales(graph: Graph) -> Iterator[Violation]:
    for node in quantizer_roots(graph):
        scale = quantizer_constant(graph, node, 1)
        if scale is None:
            yield Violation(node.output[0], "its scale is computed.", "Calibrate, and make it a constant.")
        elif not (np.all(np.isfinite(scale)) and np.all(scale > 0)):
            yield Violation(
                node.output[0],
                "a scale is not a positive finite number.",
                "Calibrate again; give a channel that is always zero the scale 1.",
            )


def _granularity(graph: Graph) -> Iterator[Violation]:
    for node in of_type(graph, DEQUANTIZE):
        scale, output = quantizer_constant(graph, node, 1), node.output[0]
        if scale is None or scale.size == 1 or integer_type(graph, node) == "int32":
            continue
        weight = graph.constants.get(before_quantizers(graph, output))
        if weight is None:
            yield Violation(output, "an activation has a scale per channel.", "Give it one scale.")
            continue
        rank = len(weight.dims)
        axis = attribute_int(node, "axis", 1) % rank
        layers = list(_layers(graph, output, tuple(range(rank))))
        if not layers:
            yield Violation(output, "it has a scale per channel, but is no layer's weight.", "Give it one scale.")
        for layer, axes in layers:
            expected = axes[-1 if layer.op_type == "MatMul" else output_axis(layer)]
            if axis != expected or scale.shape != (weight.dims[expected],):
                yield Violation(
                    output,
                    f"a weight of {layer.op_type} has scales of shape {list(scale.shape)} on axis {axis}.",
                    f"Give it one scale per output channel: {weight.dims[expected]} on axis {expected}.",
                )


def _layers(graph: Graph, tensor: str, axes: tuple[int, ...]) -> Iterator[tuple[onnx.NodeProto, tuple[int, ...]]]:
    """Yields the layers whose weight a tensor is, each with the axes of the tensor in the order that it sees."""
    for node in graph.consumers[tensor]:
        if node.op_type in LAYERS and node.input[1] == tensor:
            yield node, axes
        elif node.op_type == "Transpose":
            order = attribute_ints(node, "perm", tuple(range(len(axes)))[::-1])
            yield from _layers(graph, node.output[0], tuple(axes[position] for position in order))


def _pairs(graph: Graph) -> Iterator[Violation]:
    for node in of_type(graph, QUANTIZE):
        output = node.output[0]
        readers = graph.consumers[output]
        others = [reader.op_type for reader in readers if reader.op_type not in UNKNOWN_OPERATORS | {DEQUANTIZE}]
        if others or not readers:
            yield Violation(
                output,
                f"a QuantizeLinear is read by {', '.join(others) or 'nothing'}.",
                "Put a DequantizeLinear with the same scale after it.",
            )
        for reader in readers:
            if reader.op_type == DEQUANTIZE and not _same_numbers(graph, node, reader):
                yield Violation(
                    reader.output[0],
                    "its scale, zero point or axis is not that of its QuantizeLinear.",
                    "Give both the same.",
                )


def _same_numbers(graph: Graph, quantizer: onnx.NodeProto, dequantizer: onnx.NodeProto) -> bool:
    for position in (1, 2):
        before, after = quantizer_constant(graph, quantizer, position), quantizer_constant(graph, dequantizer, position)
        if before is None or after is None:
            same = list(quantizer.input[position:][:1]) == list(dequantizer.input[position:][:1])
        else:
            same = np.array_equal(before, after) or (position == 2 and not np.any(before) and not np.any(after))
        if not same:
            return False
    scale = quantizer_constant(graph, quantizer, 1)
    per_tensor = scale is not None and scale.size == 1
    return per_tensor or attribute_int(quantizer, "axis", 1) == attribute_int(dequantizer, "axis", 1)


def _readers(graph: Graph) -> Iterator[Violation]:
    for node in of_type(graph, DEQUANTIZE):
        if not graph.consumers.get(node.output[0]) and node.output[0] not in graph.outputs:
            yield Violation(node.output[0], "nothing reads this DequantizeLinear.", "Remove it and its QuantizeLinear.")


def _ends(graph: Graph) -> Iterator[Violation]:
    for node in of_type(graph, QUANTIZE, DEQUANTIZE):
        if node.output[0] in graph.outputs:
            yield Violation(
                node.output[0], f"a {node.op_type} makes a graph output.", "Let the last float layer make the output."
            )


def _fusions(graph: Graph) -> Iterator[Violation]:
    for node in of_type(graph, *CONVOLUTIONS):
        tensor = node.output[0]
        for operators in (frozenset({"BatchNormalization"}), ACTIVATIONS):
            reader = only_reader(graph, tensor)
            if reader is None or reader[0].op_type not in operators:
                continue
            if reader[1]:
                yield Violation(
                    tensor,
                    f"a quantizer stands between a {node.op_type} and the {reader[0].op_type} that fuses with it.",
                    "Move it behind.",
                )
            tensor = reader[0].output[0]


def _additions(graph: Graph) -> Iterator[Violation]:
    for node in of_type(graph, "Add"):
        sources = [(name, before_quantizers(graph, name)) for name in node.input]
        written = [(name, source) for name, source in sources if _convolution_writes(graph, source, node)]
        if written and all(name != source for name, source in written):
            yield Violation(
                node.output[0],
                f"every convolution that this Add could be fused with is quantized "
                f"({', '.join(source for _, source in written)}).",
                "Leave one of them float up to the Add; quantize only its other operand.",
            )


def _convolution_writes(graph: Graph, tensor: str, add: onnx.NodeProto) -> bool:
    """Tells whether a convolution, or the batch norm after it, writes a tensor that only this Add reads."""
    reader, producer = only_reader(graph, tensor), graph.producer.get(tensor)
    if producer is not None and producer.op_type == "BatchNormalization":
        producer = graph.producer.get(producer.input[0])
    return reader is not None and reader[0] is add and producer is not None and producer.op_type in CONVOLUTIONS
