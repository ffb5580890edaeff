"""Looks for zeros in the weights of an ONNX file, and whether they lie as sparse kernels need them."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from jetseg.onnx.file import load_onnx
from jetseg.onnx.graph import Graph
from jetseg.onnx.node import attribute_int
from jetseg.onnx.quantizers import DEQUANTIZE, quantizer_of

_GROUP = 4


@dataclass(frozen=True)
class LayerSparsity:
    """Zeros in the weight of one layer.

    Attributes:
        name: The layer's output tensor.
        weights: Number of weights.
        zeros: How many of them are zero.
        groups: Groups of four neighbors along the input channels; 0 where the layer cannot have them.
        dense_groups: Groups with fewer than two zeros.
        note: Why the layer cannot be 2:4; empty if it can.
    """

    name: str
    weights: int
    zeros: int
    groups: int
    dense_groups: int
    note: str = ""

    @property
    def two_four(self) -> bool:
        """Whether every group of four has at least two zeros."""
        return self.groups > 0 and self.dense_groups == 0


def layer_sparsity(path: Path) -> tuple[LayerSparsity, ...]:
    """Examines the weights of all convolutions and matrix products of an ONNX file, in float or int8.

    Raises:
        ArtifactError: The file is missing, or not a whole ONNX file.
    """
    return graph_sparsity(load_onnx(path))


def graph_sparsity(model: onnx.ModelProto) -> tuple[LayerSparsity, ...]:
    """Examines the weights of an ONNX model in memory; see `layer_sparsity`."""
    graph = Graph(model)
    found = []
    for node in graph.nodes:
        position = _WEIGHT_POSITION.get(node.op_type)
        values = _weight(graph, node.input[position]) if position is not None else None
        if values is not None and values.ndim >= 2:
            found.append(_examine(node, values))
    return tuple(found)


def gzip_bytes(path: Path) -> int:
    """Returns the size of a file after compression with gzip: what zeros save on disk and on the way to a vehicle."""
    return len(gzip.compress(path.read_bytes(), mtime=0))


_WEIGHT_POSITION = {"Conv": 1, "ConvTranspose": 1, "Gemm": 1, "MatMul": 1, "QLinearConv": 3, "ConvInteger": 1}


def _weight(graph: Graph, name: str) -> npt.NDArray[Any] | None:
    """Returns a constant tensor; one behind quantizers as integers without the zero point, as a scale moves no zero."""
    producer = graph.producer.get(name)
    if producer is not None and producer.op_type == DEQUANTIZE:
        name = producer.input[0]
    quantizer = quantizer_of(graph, name)
    source = name if quantizer is None else quantizer.input[0]
    if source not in graph.constants:
        return None
    weight = graph.weight(source)
    return weight if quantizer is None else _quantized(weight, graph.weight(quantizer.input[1]), quantizer)


def _quantized(weight: npt.NDArray[Any], scale: npt.NDArray[Any], quantizer: onnx.NodeProto) -> npt.NDArray[Any]:
    """Returns weights as integers: small ones become zero as well."""
    axis = attribute_int(quantizer, "axis", 1)
    if scale.ndim == 1 and weight.ndim > 1 and len(scale) == weight.shape[axis]:
        scale = scale.reshape([-1 if index == axis % weight.ndim else 1 for index in range(weight.ndim)])
    return np.asarray(np.rint(weight / scale))


def _examine(node: onnx.NodeProto, values: npt.NDArray[Any]) -> LayerSparsity:
    zeros = int(np.count_nonzero(values == 0))
    note, groups, dense_groups = _reason_against(node, values), 0, 0
    if not note:
        by_input = np.moveaxis(values, _input_axis(node), -1)
        fours = by_input.reshape(-1, _GROUP)
        groups = len(fours)
        dense_groups = int(np.count_nonzero(np.count_nonzero(fours == 0, axis=1) < _GROUP // 2))
    return LayerSparsity(node.output[0], values.size, zeros, groups, dense_groups, note)


def _input_axis(node: onnx.NodeProto) -> int:
    if node.op_type == "MatMul" or (node.op_type == "Gemm" and not attribute_int(node, "transB", 0)):
        return 0
    return 1


def _reason_against(node: onnx.NodeProto, values: npt.NDArray[Any]) -> str:
    if node.op_type == "ConvTranspose":
        return "transposed convolution"
    if attribute_int(node, "group", 1) > 1:
        return "grouped convolution"
    channels = values.shape[_input_axis(node)]
    return f"{channels} input channels are not a multiple of {_GROUP}" if channels % _GROUP else ""
