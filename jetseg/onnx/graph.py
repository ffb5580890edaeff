"""The float graph that calibration and quantization both start from."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper, version_converter

from jetseg.errors import ArtifactError
from jetseg.onnx.file import load_onnx

QUANTIZED_OPERATORS = frozenset({"QuantizeLinear", "DequantizeLinear", "QLinearConv", "ConvInteger"})
MIN_OPSET = 13
"""The first opset with quantizers per channel."""
_MIN_IR = 7
"""The first format of the file that opset 13 belongs to; initializers need not be inputs there."""
_FIRST_MODES_OPSET = 11
"""The first opset whose Resize names how coordinates are computed, with another default than before."""


@dataclass
class FloatGraph:
    """A network with constants as initializers, batch norms folded, and look-up tables over its nodes.

    Names of activations are those of the original file, so a ranges file holds for both.

    Attributes:
        model: The ONNX model; the other attributes index its graph.
        weights: Initializers by name.
        producer: Node that makes a tensor, by the tensor's name.
        consumers: Nodes that read a tensor, by the tensor's name.
    """

    model: onnx.ModelProto
    weights: dict[str, onnx.TensorProto] = field(init=False)
    producer: dict[str, onnx.NodeProto] = field(init=False)
    consumers: dict[str, list[onnx.NodeProto]] = field(init=False)

    def __post_init__(self) -> None:
        self.index()

    def index(self) -> None:
        """Builds the look-up tables anew after the graph changed."""
        graph = self.model.graph
        self.weights = {tensor.name: tensor for tensor in graph.initializer}
        self.producer = {name: node for node in graph.node for name in node.output}
        self.consumers = defaultdict(list)
        for node in graph.node:
            for name in node.input:
                self.consumers[name].append(node)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the graph's true inputs."""
        return tuple(port.name for port in self.model.graph.input)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the graph's outputs."""
        return tuple(port.name for port in self.model.graph.output)

    def float_tensors(self) -> frozenset[str]:
        """Returns the activations that hold float values, graph inputs included."""
        inferred = onnx.shape_inference.infer_shapes(self.model).graph
        ports = (*inferred.input, *inferred.value_info, *inferred.output)
        return frozenset(port.name for port in ports if port.type.tensor_type.elem_type == onnx.TensorProto.FLOAT)

    def copy(self) -> FloatGraph:
        """Returns a graph of its own with the same content."""
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        return FloatGraph(model)

    def weight(self, name: str) -> npt.NDArray[np.float32]:
        """Returns an initializer's values."""
        return np.asarray(numpy_helper.to_array(self.weights[name]))

    def set_weight(self, name: str, values: npt.NDArray[np.generic]) -> None:
        """Replaces an initializer's values, as float32."""
        self.weights[name].CopyFrom(numpy_helper.from_array(np.asarray(values, dtype=np.float32), name))

    def add_to_bias(self, node: onnx.NodeProto, values: npt.NDArray[np.floating]) -> None:
        """Adds to the bias of a convolution, or to the shift of a batch norm; a layer without a bias gets one."""
        if len(node.input) > 2 and node.input[2]:
            self.set_weight(node.input[2], self.weight(node.input[2]) + values)
            return
        name = f"{node.output[0]}.bias"
        self.model.graph.initializer.append(numpy_helper.from_array(np.asarray(values, dtype=np.float32), name))
        self.weights[name] = self.model.graph.initializer[-1]
        del node.input[2:]
        node.input.append(name)
        self.consumers[name] = [node]

    def only_consumer(self, name: str) -> onnx.NodeProto | None:
        """Returns the one node that reads a tensor, or None if there are several or it is an output."""
        consumers = self.consumers.get(name, [])
        return consumers[0] if len(consumers) == 1 and name not in self.outputs else None


def load_float_graph(path: Path) -> FloatGraph:
    """Loads an ONNX file for calibration or quantization; an opset older than 13 is lifted in memory.

    Raises:
        ArtifactError: The file is broken, is quantized already, is not float32, has branches, or cannot be lifted.
    """
    model = load_onnx(path)
    found = sorted({node.op_type for node in model.graph.node} & QUANTIZED_OPERATORS)
    if found:
        raise ArtifactError(
            f"{path} is quantized already (it has {', '.join(found)}).", "Give the float network that it came from."
        )
    _refuse_what_cannot_be_calibrated(path, model.graph)
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if opset < MIN_OPSET:
        model = _lift(path, model, opset)
    _collect_constants(model.graph)
    _bypass_identities(model.graph)
    graph = FloatGraph(model)
    fold_batch_norms_(graph)
    return graph


def _refuse_what_cannot_be_calibrated(path: Path, graph: onnx.GraphProto) -> None:
    half = {onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
    if any(tensor.data_type in half for tensor in graph.initializer):
        raise ArtifactError(
            f"{path} has weights in 16 bits.", "Give the float32 network; jetseg chooses the precision of an engine."
        )
    for node in graph.node:
        if any(entry.HasField("g") or entry.graphs for entry in node.attribute):
            raise ArtifactError(
                f"{path} has branches or loops: node {node.name or node.output[0]} ({node.op_type}).",
                "Export the network for one fixed input size, without control flow.",
            )


def _lift(path: Path, model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """Returns the same network in opset 13; its tensors keep their names."""
    ports = list(model.graph.output)
    inner = {name for node in model.graph.node for name in node.output if name} - {port.name for port in ports}
    # the converter keeps the names of outputs, and of other tensors only mostly
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in sorted(inner))
    try:
        lifted = version_converter.convert_version(model, MIN_OPSET)
    except Exception as error:  # the converter's exceptions share no base of their own
        raise ArtifactError(
            f"{path} uses opset {opset}; quantizers per channel need {MIN_OPSET} or later, and ONNX's converter "
            f"could not lift it: {error}.",
            f"Export it again with opset {MIN_OPSET} or later.",
        ) from error
    del lifted.graph.output[:]
    lifted.graph.output.extend(ports)
    lifted.ir_version = max(lifted.ir_version, _MIN_IR)
    if opset < _FIRST_MODES_OPSET:  # the converter leaves the newer defaults, which sample elsewhere
        for node in lifted.graph.node:
            if node.op_type == "Resize":
                node.attribute.append(helper.make_attribute("coordinate_transformation_mode", "asymmetric"))
                node.attribute.append(helper.make_attribute("nearest_mode", "floor"))
    return lifted


def fold_batch_norms_(graph: FloatGraph) -> int:
    """Folds each batch norm that alone reads a convolution into that convolution; returns how many.

    The convolution takes over the name of the batch norm's output.
    """
    folded = 0
    for norm in [node for node in graph.model.graph.node if node.op_type == "BatchNormalization"]:
        conv = graph.producer.get(norm.input[0])
        if conv is not None and _can_fold(graph, conv, norm):
            _fold(graph, conv, norm)
            folded += 1
    return folded


def _can_fold(graph: FloatGraph, conv: onnx.NodeProto, norm: onnx.NodeProto) -> bool:
    return (
        conv.op_type in ("Conv", "ConvTranspose")
        and all(name in graph.weights for name in (*conv.input[1:], *norm.input[1:]) if name)
        and len(graph.consumers[conv.input[1]]) == 1
        and graph.only_consumer(norm.input[0]) is norm
    )


def _fold(graph: FloatGraph, conv: onnx.NodeProto, norm: onnx.NodeProto) -> None:
    scale, shift, mean, variance = (graph.weight(name) for name in norm.input[1:5])
    epsilon = attribute(norm, "epsilon", 1e-5)
    factor = scale.astype(np.float64) / np.sqrt(variance.astype(np.float64) + epsilon)
    weight = graph.weight(conv.input[1])
    if conv.op_type == "Conv":
        spread = factor.reshape(-1, *([1] * (weight.ndim - 1)))
    else:  # input channels x output channels per group x kernel
        per_group = factor.reshape(int(attribute(conv, "group", 1)), 1, -1)
        spread = np.repeat(per_group, weight.shape[0] // per_group.shape[0], axis=1)
        spread = spread.reshape(weight.shape[0], -1, *([1] * (weight.ndim - 2)))
    bias = graph.weight(conv.input[2]) if len(conv.input) > 2 and conv.input[2] else np.zeros_like(mean)
    folded_weight = (weight * spread).astype(np.float32)
    folded_bias = ((bias - mean) * factor + shift).astype(np.float32)
    initializers = graph.model.graph.initializer
    weight_name, bias_name = f"{conv.input[1]}.folded", f"{norm.output[0]}.bias"
    initializers.append(numpy_helper.from_array(folded_weight, weight_name))
    initializers.append(numpy_helper.from_array(folded_bias, bias_name))
    del conv.input[1:]
    conv.input.extend([weight_name, bias_name])
    conv.output[0] = norm.output[0]
    graph.model.graph.node.remove(norm)
    drop_unused_initializers_(graph)


def drop_unused_initializers_(graph: FloatGraph) -> None:
    """Removes initializers that no node reads any more, and indexes the graph anew."""
    used = {name for node in graph.model.graph.node for name in node.input} | set(graph.outputs)
    kept = [tensor for tensor in graph.model.graph.initializer if tensor.name in used]
    del graph.model.graph.initializer[:]
    graph.model.graph.initializer.extend(kept)
    graph.index()


def attribute(node: onnx.NodeProto, name: str, default: float) -> float:
    """Returns a numeric attribute of a node, or the default."""
    for entry in node.attribute:
        if entry.name == name:
            return float(onnx.helper.get_attribute_value(entry))
    return default


def _collect_constants(graph: onnx.GraphProto) -> None:
    """Turns constant nodes into initializers, and takes initializers off the list of inputs."""
    constants = [
        node
        for node in graph.node
        if node.op_type == "Constant" and any(entry.name == "value" for entry in node.attribute)
    ]
    for node in constants:
        tensor = onnx.TensorProto()
        tensor.CopyFrom(node.attribute[0].t)
        tensor.name = node.output[0]
        graph.initializer.append(tensor)
        graph.node.remove(node)
    names = {tensor.name for tensor in graph.initializer}
    for port in [port for port in graph.input if port.name in names]:
        graph.input.remove(port)


def _bypass_identities(graph: onnx.GraphProto) -> None:
    """Lets who reads a copy of an initializer read the initializer, as exporters write shared weights."""
    source = {tensor.name: tensor.name for tensor in graph.initializer}
    outputs = {port.name for port in graph.output}
    for node in list(graph.node):
        if node.op_type == "Identity" and node.input[0] in source and node.output[0] not in outputs:
            source[node.output[0]] = source[node.input[0]]
            graph.node.remove(node)
    for node in graph.node:
        for position, name in enumerate(node.input):
            node.input[position] = source.get(name, name)
