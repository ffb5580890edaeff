"""A network with quantizers, looked at as if they were not there."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, numpy_helper

from jetseg.onnx.graph import FloatGraph, attribute

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"


class QdqGraph(FloatGraph):
    """A network with look-up tables that see through quantizers."""

    def index(self) -> None:
        """Builds the look-up tables anew after the graph changed."""
        super().index()
        self.nodes = tuple(self.model.graph.node)
        self.constants = self.weights | {
            node.output[0]: entry.t
            for node in self.nodes
            if node.op_type == "Constant"
            for entry in node.attribute
            if entry.name == "value"
        }

    def of_type(self, *operators: str) -> Iterator[onnx.NodeProto]:
        """Yields the nodes with one of these operators, in graph order."""
        return (node for node in self.nodes if node.op_type in operators)

    def roots(self) -> Iterator[onnx.NodeProto]:
        """Yields every quantizer, and every dequantizer that no quantizer feeds."""
        return (node for node in self.of_type(QUANTIZE, DEQUANTIZE) if self.quantizer(node.input[0]) is None)

    def quantizer(self, tensor: str) -> onnx.NodeProto | None:
        """Returns the quantizer that makes a tensor, if one does."""
        node = self.producer.get(tensor)
        return node if node is not None and node.op_type == QUANTIZE else None

    def source(self, tensor: str) -> str:
        """Returns the tensor that a dequantizer's output stands for; any other tensor is its own source."""
        node = self.producer.get(tensor)
        if node is None or node.op_type != DEQUANTIZE:
            return tensor
        quantizer = self.quantizer(node.input[0])
        return str(node.input[0] if quantizer is None else quantizer.input[0])

    def only_reader(self, tensor: str) -> tuple[onnx.NodeProto, bool] | None:
        """Returns the one node that reads a tensor, and whether through a quantizer; None if there are several."""
        readers, open_tensors = [], [(tensor, False)]
        for name, quantized in open_tensors:
            if name in self.outputs:
                return None
            for node in self.consumers.get(name, []):
                if node.op_type in (QUANTIZE, DEQUANTIZE):
                    open_tensors.append((node.output[0], True))
                else:
                    readers.append((node, quantized))
        return readers[0] if len(readers) == 1 else None

    def value(self, node: onnx.NodeProto, position: int) -> npt.NDArray[np.float64] | None:
        """Returns a constant input; a zero point that is not given is 0."""
        name = node.input[position] if len(node.input) > position else ""
        if not name and position == 2:
            return np.zeros(())
        if name not in self.constants:
            return None
        return np.asarray(numpy_helper.to_array(self.constants[name]), dtype=np.float64)

    def integer_type(self, node: onnx.NodeProto) -> str | None:
        """Returns the name of a quantizer's or dequantizer's integer type, or None where only a run can tell."""
        given = node.input[2] if len(node.input) > 2 else ""
        source = given or (node.input[0] if node.op_type == DEQUANTIZE else "")
        if source in self.constants:
            return str(TensorProto.DataType.Name(self.constants[source].data_type)).lower()
        if node.op_type == DEQUANTIZE or given:
            return None
        return str(TensorProto.DataType.Name(int(attribute(node, "output_dtype", 0)) or TensorProto.UINT8)).lower()
