"""Writes quantizers into a network: a pair of QuantizeLinear and DequantizeLinear at each place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from jetseg.calibrate.graph import FloatGraph, drop_unused_initializers_
from jetseg.calibrate.placement import Placement
from jetseg.calibrate.ranges import TensorRange
from jetseg.errors import CalibrationError

SYMMETRIC_LIMIT = 127
"""Largest magnitude of a symmetric 8-bit value."""
REDUCED_WEIGHT_LIMIT = 64
"""Largest magnitude of a weight on AVX2, whose kernels add pairs of products in 16 bits: 2 * 255 * 64 still fits,
2 * 255 * 127 does not and would silently saturate."""
SMALLEST_WEIGHT_SCALE = 1e-30
"""Channels below it are dead: their weights become zeros, and no scale, nor its product with an activation's, is too
small for float32."""
_BIAS_LIMIT = float(2**30)


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
    nodes = list(graph.model.graph.node)
    del graph.model.graph.node[:]
    for name in graph.inputs:
        if name in scales:
            _quantize_activation_(graph, placement, name, *scales[name])
    for node in nodes:
        if node.op_type == "Conv" and node.output[0] in placement.integer_nodes:
            _quantize_layer_(graph, node, scales)
        graph.model.graph.node.append(node)
        for name in node.output:
            if name in scales:
                _quantize_activation_(graph, placement, name, *scales[name])
    drop_unused_initializers_(graph)
    return graph.model


def render_symmetric_(graph: FloatGraph, placement: Placement, tensors: Mapping[str, TensorRange]) -> onnx.ModelProto:
    """Renders a network for TensorRT's explicit quantization.

    Activations are int8 with zero point 0 and one scale, weights int8 with a scale per output channel, biases
    float. Weights stay float values before their quantizer, so that the file can be trained on; TensorRT folds
    the quantizer into them.

    Args:
        graph: The float network; it is changed in place.
        placement: Where quantizers stand.
        tensors: Calibrated ranges by activation.

    Returns:
        The model of `graph`.

    Raises:
        CalibrationError: An activation has no range.
    """
    amax = {name: entry.amax for name, entry in _bounds(placement, tensors).items()}
    nodes = list(graph.model.graph.node)
    del graph.model.graph.node[:]
    for name in graph.inputs:
        if name in amax:
            _append_symmetric_(graph, placement, name, amax[name])
    for node in nodes:
        if node.output[0] in placement.integer_nodes and len(node.input) > 1 and node.input[1] in placement.weights:
            node.input[1] = _append_weight_(graph, node, placement.weights[node.input[1]])
        graph.model.graph.node.append(node)
        for name in node.output:
            if name in amax:
                _append_symmetric_(graph, placement, name, amax[name])
    drop_unused_initializers_(graph)
    return graph.model


@dataclass(frozen=True)
class Quantizer:
    """An 8-bit quantizer of one activation, as numbers: integers from `lowest` to `highest`."""

    scale: float
    zero_point: int
    lowest: int
    highest: int

    def __call__(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Returns the values rounded and clipped as QuantizeLinear and DequantizeLinear do.

        >>> import numpy as np
        >>> Quantizer(1.0, 0, -128, 127)(np.float32([0.4, 1.6, 500.0]))
        array([  0.,   2., 127.], dtype=float32)
        """
        scale = np.float32(self.scale)
        integers = np.clip(np.rint(values / scale) + self.zero_point, self.lowest, self.highest)
        return np.asarray((integers - self.zero_point) * scale, dtype=np.float32)


def symmetric_quantizers(placement: Placement, tensors: Mapping[str, TensorRange]) -> dict[str, Quantizer]:
    """Returns the quantizers that `render_symmetric_` writes, by activation."""
    bounds = _bounds(placement, tensors)
    return {name: Quantizer(symmetric_scale(entry.amax), 0, -128, 127) for name, entry in bounds.items()}


def unsigned_quantizers(placement: Placement, tensors: Mapping[str, TensorRange]) -> dict[str, Quantizer]:
    """Returns the quantizers that `render_unsigned_` writes, by activation."""
    bounds = _bounds(placement, tensors)
    return {name: Quantizer(*unsigned_scale(entry.low, entry.high), 0, 255) for name, entry in bounds.items()}


def symmetric_scale(amax: float) -> float:
    """Returns the scale of an int8 quantizer over [-amax, amax]; 1 for a tensor that is always zero.

    >>> symmetric_scale(254.0)
    2.0
    """
    scale = amax / SYMMETRIC_LIMIT
    return scale if scale >= np.finfo(np.float32).tiny else 1.0


def weight_scales(weight: npt.NDArray[np.float32], axis: int) -> npt.NDArray[np.float32]:
    """Returns the scale of each output channel of a weight, over its largest magnitude.

    >>> import numpy as np
    >>> weight_scales(np.float32([[127.0, -3.0], [0.5, -254.0]]), axis=0)
    array([1., 2.], dtype=float32)
    """
    magnitude = np.abs(np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1)).max(axis=1)
    scale = magnitude / np.float32(SYMMETRIC_LIMIT)
    return np.where(scale >= SMALLEST_WEIGHT_SCALE, scale, 1.0).astype(np.float32)


def _bounds(placement: Placement, tensors: Mapping[str, TensorRange]) -> dict[str, TensorRange]:
    missing = sorted({source for source in placement.activations.values() if source not in tensors})
    if missing:
        raise CalibrationError(
            f"The ranges file lacks {len(missing)} of the network's tensors: {', '.join(missing[:5])}.",
            "Run `jetseg calibrate` again with this network.",
        )
    return {name: tensors[source] for name, source in placement.activations.items()}


def _append_symmetric_(graph: FloatGraph, placement: Placement, name: str, amax: float) -> None:
    """Appends the int8 pair of one activation and points its quantized readers to it."""
    _append_pair_(graph, name, name, np.float32(symmetric_scale(amax)), None)
    for reader in graph.consumers[name]:
        if placement.reads_rounded(graph, reader, name):
            _replace_input_(reader, name, f"{name}.dequantized")


def _append_weight_(graph: FloatGraph, node: onnx.NodeProto, axis: int) -> str:
    """Appends the pair of one layer's weight; returns the name of the quantized weight."""
    name = f"{node.output[0]}.weight"
    _append_pair_(graph, node.input[1], name, weight_scales(graph.weight(node.input[1]), axis), axis)
    return f"{name}.dequantized"


def _append_pair_(
    graph: FloatGraph, source: str, name: str, scale: npt.NDArray[np.float32] | np.float32, axis: int | None
) -> None:
    constants = [f"{name}.scale", f"{name}.zero_point"]
    zeros = np.zeros(np.shape(scale), dtype=np.int8)
    for key, values in zip(constants, (np.asarray(scale), zeros), strict=True):
        graph.model.graph.initializer.append(numpy_helper.from_array(values, key))
    where = {} if axis is None else {"axis": axis}
    quantized, dequantized = f"{name}.quantized", f"{name}.dequantized"
    graph.model.graph.node.extend(
        [
            helper.make_node("QuantizeLinear", [source, *constants], [quantized], f"{name}.quantize", **where),
            helper.make_node("DequantizeLinear", [quantized, *constants], [dequantized], f"{name}.dequantize", **where),
        ]
    )


def _quantize_activation_(graph: FloatGraph, placement: Placement, name: str, scale: float, zero_point: int) -> None:
    """Appends the pair for one activation and points its readers to it.

    An integer operator always reads the quantized tensor. A float operator reads the float tensor where a float
    operator made it, so that nothing is rounded that need not be.
    """
    pair = (f"{name}.scale", f"{name}.zero_point")
    graph.model.graph.initializer.append(numpy_helper.from_array(np.float32(scale), pair[0]))
    graph.model.graph.initializer.append(numpy_helper.from_array(np.uint8(zero_point), pair[1]))
    graph.model.graph.node.append(
        helper.make_node("QuantizeLinear", [name, *pair], [f"{name}.quantized"], f"{name}.quantize")
    )
    graph.model.graph.node.append(
        helper.make_node(
            "DequantizeLinear", [f"{name}.quantized", *pair], [f"{name}.dequantized"], f"{name}.dequantize"
        )
    )
    for reader in graph.consumers[name]:
        if placement.reads_rounded(graph, reader, name):
            _replace_input_(reader, name, f"{name}.dequantized")


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


def unsigned_scale(low: float, high: float) -> tuple[float, int]:
    """Returns scale and zero point of a uint8 quantizer over [low, high], widened to contain zero.

    >>> unsigned_scale(-1.0, 2.984375)
    (0.015625, 64)
    """
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / 255.0
    if scale < np.finfo(np.float32).tiny:
        return 1.0, 0
    return scale, round(-low / scale)
