"""A network with quantizers, looked at as if they were not there."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto

from jetseg.onnx.graph import Graph
from jetseg.onnx.node import attribute_int

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
QUANTIZED_OPERATORS = frozenset({QUANTIZE, DEQUANTIZE, "QLinearConv", "ConvInteger"})


def of_type(graph: Graph, *operators: str) -> Iterator[onnx.NodeProto]:
    """Yields the nodes with one of these operators, in graph order."""
    return (node for node in graph.nodes if node.op_type in operators)


def quantizer_roots(graph: Graph) -> Iterator[onnx.NodeProto]:
    """Yields every quantizer, and every dequantizer that no quantizer feeds."""
    return (node for node in of_type(graph, QUANTIZE, DEQUANTIZE) if quantizer_of(graph, node.input[0]) is None)


def quantizer_of(graph: Graph, tensor: str) -> onnx.NodeProto | None:
    """Returns the quantizer that makes a tensor, if one does."""
    node = graph.producer.get(tensor)
    return node if node is not None and node.op_type == QUANTIZE else None


def before_quantizers(graph: Graph, tensor: str) -> str:
    """Returns the tensor that a dequantizer's output stands for; any other tensor stands for itself."""
    node = graph.producer.get(tensor)
    if node is None or node.op_type != DEQUANTIZE:
        return tensor
    quantizer = quantizer_of(graph, node.input[0])
    return str(node.input[0] if quantizer is None else quantizer.input[0])


def only_reader(graph: Graph, tensor: str) -> tuple[onnx.NodeProto, bool] | None:
    """Returns the one node that reads a tensor, and whether through a quantizer; None if there are several."""
    readers, open_tensors = [], [(tensor, False)]
    for name, quantized in open_tensors:
        if name in graph.outputs:
            return None
        for node in graph.consumers[name]:
            if node.op_type in (QUANTIZE, DEQUANTIZE):
                open_tensors.append((node.output[0], True))
            else:
                readers.append((node, quantized))
    return readers[0] if len(readers) == 1 else None


def quantizer_constant(graph: Graph, node: onnx.NodeProto, position: int) -> npt.NDArray[np.float64] | None:
    """Returns a constant input of a quantizer or dequantizer, None if it is computed; a zero point left out is 0."""
    name = node.input[position] if len(node.input) > position else ""
    if not name and position == 2:
        return np.zeros(())
    if name not in graph.constants:
        return None
    return np.asarray(graph.weight(name), dtype=np.float64)


def integer_type(graph: Graph, node: onnx.NodeProto) -> str | None:
    """Returns the name of a quantizer's or dequantizer's integer type, or None where only a run can tell."""
    given = node.input[2] if len(node.input) > 2 else ""
    source = given or (node.input[0] if node.op_type == DEQUANTIZE else "")
    if source in graph.constants:
        return str(TensorProto.DataType.Name(graph.constants[source].data_type)).lower()
    if node.op_type == DEQUANTIZE or given:
        return None
    return str(TensorProto.DataType.Name(attribute_int(node, "output_dtype", 0) or TensorProto.UINT8)).lower()
