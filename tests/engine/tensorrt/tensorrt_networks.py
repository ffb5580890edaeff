"""Networks to build, and ways to ask for it, for the tests of the TensorRT backends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from jetseg.engine.backend import BuildRequest
from jetseg.input_spec import InputSpec
from jetseg.manifest import Manifest
from jetseg.network import Network
from jetseg.onnx.file import read_onnx
from jetseg.onnx.float_graph import load_float_graph
from jetseg.quantization.config import Policy
from jetseg.quantization.qdq.placement import observed_tensors
from jetseg.quantization.ranges import RangesRecord, TensorRange


def rough_ranges(model: Path, spec: InputSpec, placement: Policy = "conv-inputs") -> RangesRecord:
    """Ranges from -2 to 2 for every activation: a builder does not care how good they are."""
    entry = TensorRange(low=-2, high=2, amax=2, seen_low=-2, seen_high=2)
    return RangesRecord(
        method="minmax",
        frames=1,
        model_sha256="0",
        data_sha256="0",
        data="none",
        preprocessing=spec,
        placement=placement,
        tensors=dict.fromkeys(observed_tensors(load_float_graph(model)), entry),
    )


def request(model: Path, manifest: Manifest, precision: str, out: Path, options: object, **changes) -> BuildRequest:
    ranges = rough_ranges(model, manifest.input) if precision == "int8" else None
    return BuildRequest(
        Network(model, manifest, read_onnx(model).sha256), precision, ranges, out, options=options, **changes
    )


def graph(nodes, constants, shape=(1, 3, 8, 8), *, opset=18) -> onnx.ModelProto:
    """A network of these nodes from `image` to `out`."""
    ports = [
        helper.make_tensor_value_info("image", TensorProto.FLOAT, shape),
        helper.make_tensor_value_info("out", TensorProto.FLOAT, None),
    ]
    tensors = [numpy_helper.from_array(np.asarray(values), name) for name, values in constants.items()]
    made = helper.make_graph(nodes, "wrong", ports[:1], ports[1:], tensors)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def _quantized_convolution(scale=0.05, zero_point=0, bias=None) -> onnx.ModelProto:
    constants = {"w": np.full((4, 3, 3, 3), 0.1, np.float32), "s": np.float32(scale), "z": np.int8(zero_point)}
    nodes = [
        helper.make_node("QuantizeLinear", ["image", "s", "z"], ["q"], "image.quantize"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"], "image.dequantize"),
    ]
    inputs = ["d", "w"]
    if bias is not None:
        constants["b"] = bias
        nodes.append(helper.make_node("DequantizeLinear", ["b", "s"], ["bd"], "bias.dequantize"))
        inputs.append("bd")
    return graph([*nodes, helper.make_node("Conv", inputs, ["out"], "conv")], constants)


def wrong_graphs() -> dict[str, tuple[onnx.ModelProto, str]]:
    """Graphs that TensorRT refuses, each with what the error must say."""
    node, kernel = helper.make_node, {"w": np.full((4, 3, 3, 3), 0.1, np.float32)}
    half = node("Cast", ["image"], ["half"], "half", to=TensorProto.FLOAT16)
    return {
        "int32 bias": (
            _quantized_convolution(bias=np.ones(4, np.int32)),
            r"bias\.dequantize \(DequantizeLinear\): a dequantizer reads int32 .* Keep biases in float",
        ),
        "asymmetric": (
            _quantized_convolution(zero_point=3),
            r"image\.quantize \(QuantizeLinear\): the quantizer is asymmetric.* Quantize symmetrically",
        ),
        "zero scale": (
            _quantized_convolution(scale=0.0),
            r"image\.quantize \(QuantizeLinear\): a scale is zero or negative.* Calibrate again",
        ),
        "unknown operator": (
            graph([node("Frobnicate", ["image"], ["out"], "strange")], {}),
            r"strange \(Frobnicate\): TensorRT has no such operator.* Replace the node",
        ),
        "unnamed node": (
            graph([node("Frobnicate", ["image"], ["out"])], {}),
            r"out \(Frobnicate\): TensorRT has no such operator",
        ),
        "unpooling": (
            graph(
                [
                    node("MaxPool", ["image"], ["p", "i"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
                    node("MaxUnpool", ["p", "i"], ["out"], "unpool", kernel_shape=[2, 2], strides=[2, 2]),
                ],
                {},
            ),
            r"unpool \(MaxUnpool\): TensorRT has no such operator",
        ),
        "dynamic shape": (
            graph([node("Conv", ["image", "w"], ["out"], "conv")], kernel, ("n", 3, "h", "w_")),
            r"an input has a size that is not fixed.* fixed sizes",
        ),
        "mixed types": (
            graph([half, node("Add", ["half", "image"], ["out"], "sum")], {}),
            r"sum \(Add\): its inputs have different data types.* Cast one",
        ),
    }
