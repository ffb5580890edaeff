"""A small renderer of symmetric quantizers: every layer's input and weight, ranges by the largest value."""

import numpy as np
import onnx
from onnx import helper, numpy_helper

from jetseg.onnx.session import make_session

LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def quantize_symmetric(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> onnx.ModelProto:
    """Returns a copy of a float network with quantizer pairs."""
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    layers = [node for node in model.graph.node if node.op_type in LAYERS and node.input[1] in weights]
    amax = _largest(model, [node.input[0] for node in layers], feeds)
    quantized = onnx.ModelProto()
    quantized.CopyFrom(model)
    graph = quantized.graph
    del graph.node[:]
    for name in feeds:
        if name in amax:
            _pair(graph, name, name, amax[name] / 127)
    for original in model.graph.node:
        node = onnx.NodeProto()
        node.CopyFrom(original)
        if original in layers:
            axis = _output_axis(node)
            weight = weights[node.input[1]]
            others = tuple(index for index in range(weight.ndim) if index != axis)
            _pair(graph, f"{node.output[0]}.weight", node.input[1], np.abs(weight).max(others) / np.float32(127), axis)
            node.input[0] += ".dequantized"
            node.input[1] = f"{node.output[0]}.weight.dequantized"
        graph.node.append(node)
        for name in node.output:
            if name in amax:
                _pair(graph, name, name, amax[name] / 127)
    onnx.checker.check_model(quantized, full_check=True)
    return quantized


def _largest(model, names, feeds):
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    names = list(dict.fromkeys(names))
    made = [name for name in names if name not in feeds]
    del watched.graph.output[:]
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in made)
    values = dict(zip(made, make_session(watched.SerializeToString()).run(made, feeds), strict=True)) | feeds
    return {name: float(np.abs(values[name]).max()) for name in names}


def _output_axis(node):
    if node.op_type == "Gemm":
        return 0 if any(entry.name == "transB" and entry.i for entry in node.attribute) else 1
    return 0 if node.op_type == "Conv" else 1


def _pair(graph, name, source, scale, axis=None):
    scale = np.asarray(scale, dtype=np.float32)
    constants = [f"{name}.scale", f"{name}.zero_point"]
    graph.initializer.append(numpy_helper.from_array(scale, constants[0]))
    graph.initializer.append(numpy_helper.from_array(np.zeros(scale.shape, np.int8), constants[1]))
    where = {} if axis is None else {"axis": axis}
    steps = (("QuantizeLinear", source, "quantized"), ("DequantizeLinear", f"{name}.quantized", "dequantized"))
    for operator, read, made in steps:
        graph.node.append(helper.make_node(operator, [read, *constants], [f"{name}.{made}"], **where))
