"""Writes quantizers into a network: a pair of QuantizeLinear and DequantizeLinear at each place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from jetseg.errors import CalibrationError
from jetseg.onnx.graph import FloatGraph, drop_unused_initializers_
from jetseg.quantization.qdq.placement import Placement
from jetseg.quantization.qdq.schemes import (
    REDUCED_WEIGHT_LIMIT,
    SMALLEST_WEIGHT_SCALE,
    TENSORRT,
    Quantizer,
    Scheme,
    unsigned_scale,
    weight_scales,
)
from jetseg.quantization.ranges import TensorRange

_BIAS_LIMIT = float(2**30)
_LONG_DOMAIN = "com.microsoft"


def render_unsigned_(graph: FloatGraph, placement: Placement, tensors: Mapping[str, TensorRange]) -> onnx.ModelProto:
    """Renders a network for ONNX Runtime's integer kernels.

    Activations are uint8 with a zero point, weights int8 per output channel in reduced range, biases int32.

    Args:
        graph: The float network; it is changed in place.
        placement: Where quantizers stand.
        tensors: Calibrated ranges by activation.

    Returns:
        The model of `graph`.

    Raises:
        CalibrationError: An activation has no range.
    """
    bounds = _bounds(placement, tensors)
    scales = {name: unsigned_scale(entry.low, entry.high) for name, entry in bounds.items()}

    def append_(name: str) -> None:
        scale, zero_point = scales[name]
        _append_activation_(graph, placement, name, scale, np.asarray(zero_point, np.uint8))

    nodes = list(graph.model.graph.node)
    del graph.model.graph.node[:]
    for name in graph.inputs:
        if name in scales:
            append_(name)
    for node in nodes:
        if node.op_type == "Conv" and node.output[0] in placement.integer_nodes:
            _quantize_layer_(graph, node, scales)
        graph.model.graph.node.append(node)
        for name in node.output:
            if name in scales:
                append_(name)
    drop_unused_initializers_(graph)
    return graph.model


def render_symmetric_(graph: FloatGraph, placement: Placement, tensors: Mapping[str, TensorRange]) -> onnx.ModelProto:
    """Renders a network for TensorRT's explicit quantization; see `render_explicit_`."""
    return render_explicit_(graph, placement, tensors, TENSORRT)


def render_explicit_(
    graph: FloatGraph, placement: Placement, tensors: Mapping[str, TensorRange], scheme: Scheme
) -> onnx.ModelProto:
    """Renders a network with a pair of QuantizeLinear and DequantizeLinear at each place.

    Activations have one scale, weights a scale per output channel, biases are float. Weights stay float values
    before their quantizer, so that the file can be trained on; a backend folds the quantizer into them.

    Args:
        graph: The float network; it is changed in place.
        placement: Where quantizers stand.
        tensors: Calibrated ranges by activation.
        scheme: What the quantizers compute. ONNX before opset 21 has no 16-bit quantizers; those are ONNX
            Runtime's own, of the domain com.microsoft.

    Returns:
        The model of `graph`.

    Raises:
        CalibrationError: An activation has no range.
    """
    quantizers = {name: scheme.quantizer(entry) for name, entry in _bounds(placement, tensors).items()}
    kind = _integer(scheme.bits, signed=scheme.symmetric)

    def append_(name: str) -> None:
        quantizer = quantizers[name]
        _append_activation_(graph, placement, name, quantizer.scale, np.asarray(quantizer.zero_point, kind))

    nodes = list(graph.model.graph.node)
    del graph.model.graph.node[:]
    if scheme.bits == 16:
        graph.model.opset_import.append(helper.make_opsetid(_LONG_DOMAIN, 1))
    for name in graph.inputs:
        if name in quantizers:
            append_(name)
    for node in nodes:
        if node.output[0] in placement.integer_nodes and len(node.input) > 1 and node.input[1] in placement.weights:
            node.input[1] = _append_weight_(graph, node, placement.weights[node.input[1]], scheme)
        graph.model.graph.node.append(node)
        for name in node.output:
            if name in quantizers:
                append_(name)
    drop_unused_initializers_(graph)
    return graph.model


def symmetric_quantizers(placement: Placement, tensors: Mapping[str, TensorRange]) -> dict[str, Quantizer]:
    """Returns the quantizers that `render_symmetric_` writes, by activation."""
    return {name: TENSORRT.quantizer(entry) for name, entry in _bounds(placement, tensors).items()}


def unsigned_quantizers(placement: Placement, tensors: Mapping[str, TensorRange]) -> dict[str, Quantizer]:
    """Returns the quantizers that `render_unsigned_` writes, by activation."""
    bounds = _bounds(placement, tensors)
    return {name: Quantizer(*unsigned_scale(entry.low, entry.high), 0, 255) for name, entry in bounds.items()}


def _bounds(placement: Placement, tensors: Mapping[str, TensorRange]) -> dict[str, TensorRange]:
    missing = sorted({source for source in placement.activations.values() if source not in tensors})
    if missing:
        raise CalibrationError(
            f"The ranges file lacks {len(missing)} of the network's tensors: {', '.join(missing[:5])}.",
            "Run `jetseg calibrate` again with this network.",
        )
    return {name: tensors[source] for name, source in placement.activations.items()}


def _append_activation_(
    graph: FloatGraph, placement: Placement, name: str, scale: float, zero_point: npt.NDArray[np.integer[Any]]
) -> None:
    """Appends the pair of one activation and points its quantized readers to it.

    An integer operator always reads the quantized tensor. A float operator reads the float tensor where a float
    operator made it, so that nothing is rounded that need not be.
    """
    _append_pair_(graph, name, name, np.asarray(scale, np.float32), zero_point, None)
    for reader in graph.consumers[name]:
        if placement.reads_rounded(graph, reader, name):
            _replace_input_(reader, name, f"{name}.dequantized")


def _append_weight_(graph: FloatGraph, node: onnx.NodeProto, axis: int, scheme: Scheme) -> str:
    """Appends the pair of one layer's weight; returns the name of the quantized weight."""
    name = f"{node.output[0]}.weight"
    scale = weight_scales(graph.weight(node.input[1]), axis, 2 ** (scheme.bits - 1) - 1)
    _append_pair_(graph, node.input[1], name, scale, np.zeros(scale.shape, _integer(scheme.bits, signed=True)), axis)
    return f"{name}.dequantized"


def _integer(bits: int, *, signed: bool) -> np.dtype[np.integer[Any]]:
    return np.dtype(f"{'int' if signed else 'uint'}{bits}")


def _append_pair_(
    graph: FloatGraph,
    source: str,
    name: str,
    scale: npt.NDArray[np.float32],
    zero_point: npt.NDArray[np.integer[Any]],
    axis: int | None,
) -> None:
    constants = [f"{name}.scale", f"{name}.zero_point"]
    for key, values in zip(constants, (scale, zero_point), strict=True):
        graph.model.graph.initializer.append(numpy_helper.from_array(values, key))
    where: dict[str, Any] = {} if axis is None else {"axis": axis}
    if zero_point.dtype.itemsize == 2:
        where["domain"] = _LONG_DOMAIN
    quantized, dequantized = f"{name}.quantized", f"{name}.dequantized"
    graph.model.graph.node.extend(
        [
            helper.make_node("QuantizeLinear", [source, *constants], [quantized], f"{name}.quantize", **where),
            helper.make_node("DequantizeLinear", [quantized, *constants], [dequantized], f"{name}.dequantize", **where),
        ]
    )


def _quantize_layer_(graph: FloatGraph, conv: onnx.NodeProto, scales: Mapping[str, tuple[float, int]]) -> None:
    """Puts dequantizers over the weight and bias of a convolution whose input is quantized already."""
    activation_scale, _ = scales[conv.input[0].removesuffix(".dequantized")]
    layer = conv.output[0]
    weight = graph.weight(conv.input[1])
    has_bias = len(conv.input) > 2 and bool(conv.input[2])
    bias = graph.weight(conv.input[2]).astype(np.float64) if has_bias else np.zeros(weight.shape[0])
    magnitude = np.abs(weight.reshape(weight.shape[0], -1)).max(axis=1).astype(np.float64)
    # a channel of tiny weights with a large bias gets a coarser scale, or its bias would not fit 32 bits
    weight_scale = np.maximum(magnitude / REDUCED_WEIGHT_LIMIT, np.abs(bias) / (activation_scale * _BIAS_LIMIT))
    weight_scale = np.where(weight_scale >= SMALLEST_WEIGHT_SCALE, weight_scale, 1.0).astype(np.float32)
    spread = weight_scale.reshape(-1, *([1] * (weight.ndim - 1)))
    limit = REDUCED_WEIGHT_LIMIT
    integers = np.clip(np.round(weight / spread), -limit, limit).astype(np.int8)
    conv.input[1] = _dequantized(graph, f"{layer}.weight", integers, weight_scale)
    if has_bias:
        bias_scale = (weight_scale.astype(np.float64) * np.float32(activation_scale)).astype(np.float32)
        conv.input[2] = _dequantized(graph, f"{layer}.bias", np.round(bias / bias_scale).astype(np.int32), bias_scale)


def _dequantized(
    graph: FloatGraph, name: str, integers: npt.NDArray[np.generic], scale: npt.NDArray[np.float32]
) -> str:
    """Appends integers with a dequantizer per output channel; returns the name of its output."""
    initializers = graph.model.graph.initializer
    inputs = [f"{name}.quantized", f"{name}.scale", f"{name}.zero_point"]
    zeros = np.zeros(len(scale), dtype=integers.dtype)
    for key, values in zip(inputs, (integers, scale, zeros), strict=True):
        initializers.append(numpy_helper.from_array(np.asarray(values), key))
    graph.model.graph.node.append(
        helper.make_node("DequantizeLinear", inputs, [f"{name}.dequantized"], f"{name}.dequantize", axis=0)
    )
    return f"{name}.dequantized"


def _replace_input_(node: onnx.NodeProto, old: str, new: str) -> None:
    for position, name in enumerate(node.input):
        if name == old:
            node.input[position] = new
