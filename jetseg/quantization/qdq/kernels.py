"""What TensorRT computes in one kernel, and what it computes in float: between these, no quantizer pays."""

from __future__ import annotations

import onnx

from jetseg.onnx.graph import Graph

POINTWISE = frozenset(
    {"Relu", "PRelu", "LeakyRelu", "Clip", "Sigmoid", "HardSigmoid", "HardSwish", "BatchNormalization"}
    | {"Add", "Sub", "Mul"}
)
"""Operators on single values: TensorRT computes a chain of them in one kernel, with the layer before it."""
_ALSO_POINTWISE = frozenset({"Erf", "Tanh", "Exp", "Div", "Neg", "Gelu", "Elu", "Softplus"})
"""These as well; they are never quantized themselves."""
_FLOAT_ONLY = frozenset(
    {"LayerNormalization", "InstanceNormalization", "GroupNormalization", "RMSNormalization", "Softmax", "LogSoftmax"}
    | {"Sqrt", "Pow", "Attention", "Einsum"}
)
"""Operators that read float, whatever stands before them."""


def is_matrix_layer(graph: Graph, node: onnx.NodeProto) -> bool:
    """Tells whether a node multiplies an activation with a constant weight matrix or kernel."""
    if len(node.input) < 2 or node.input[0] in graph.weights or node.input[1] not in graph.weights:
        return False
    products = node.op_type in ("Gemm", "MatMul") and len(graph.weights[node.input[1]].dims) == 2
    return products or node.op_type in ("Conv", "ConvTranspose")


def is_activation_product(graph: Graph, node: onnx.NodeProto) -> bool:
    """Tells whether a node multiplies two activations, as an attention does."""
    return node.op_type == "MatMul" and not any(name in graph.constants for name in node.input)


def is_product(graph: Graph, node: onnx.NodeProto) -> bool:
    """Tells whether a node is one of the products that a backend may compute on integers."""
    return is_matrix_layer(graph, node) or is_activation_product(graph, node)


def float_operators(graph: Graph) -> frozenset[str]:
    """Returns the operators, by first output, whose result is for float operators: a quantizer before them is lost.

    Norms, softmax and products of two activations read float. So does what one of them reads, and what is made only
    for such operators: a transformer's residual stream, and the scaling before an attention, which TensorRT computes
    in the attention's own kernel.
    """
    found: set[str] = set()
    for node in reversed(graph.nodes):
        readers = graph.readers(node.output[0])
        exact = [_reads_float(graph, reader) for reader in readers]
        carried = [reader.output[0] in found for reader in readers]
        only = bool(readers) and all(one or other for one, other in zip(exact, carried, strict=True))
        if not is_matrix_layer(graph, node) and (any(exact) or only):
            found.add(node.output[0])
    return frozenset(found)


def in_one_kernel(graph: Graph, name: str) -> bool:
    """Tells whether a tensor passes from a layer or pointwise operator to its readers without being stored.

    It has one reader, or the readers are pointwise and come together in the last of them, as in SiLU and GELU.
    """
    producer, readers = graph.producer.get(name), graph.readers(name)
    if producer is None or not readers or name in graph.outputs:
        return False
    if not is_matrix_layer(graph, producer) and not _is_pointwise(producer):
        return False
    return all(_leads_to(graph, reader, readers[-1]) for reader in readers[:-1])


def made_of(graph: Graph, name: str, source: str) -> bool:
    """Tells whether a chain of pointwise operators makes a tensor of another one and of constants."""
    while name != source:
        producer = graph.producer.get(name)
        if producer is None or not _is_pointwise(producer):
            return False
        reads = {read for read in producer.input if read and read not in graph.constants}
        if len(reads) != 1:
            return False
        (name,) = reads
    return True


def _reads_float(graph: Graph, node: onnx.NodeProto) -> bool:
    products = node.op_type in ("MatMul", "Gemm") and not is_matrix_layer(graph, node)
    return products or node.op_type in _FLOAT_ONLY


def _is_pointwise(node: onnx.NodeProto) -> bool:
    return node.op_type in POINTWISE or node.op_type in _ALSO_POINTWISE


def _leads_to(graph: Graph, node: onnx.NodeProto, last: onnx.NodeProto) -> bool:
    """Tells whether a chain of pointwise operators leads from a node to another one, and nowhere else."""
    while node is not last:
        reader = graph.only_consumer(node.output[0]) if _is_pointwise(node) else None
        if reader is None:
            return False
        node = reader
    return _is_pointwise(last)
