"""Writes quantizers into a network: a pair of QuantizeLinear and DequantizeLinear at each place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

from jetseg.errors import CalibrationError
from jetseg.onnx.float_graph import lift
from jetseg.onnx.graph import Graph
from jetseg.onnx.quantizers import DEQUANTIZE, QUANTIZE, before_quantizers
from jetseg.quantization.qdq.integer_operators import Constants, in_integer_kernels_
from jetseg.quantization.qdq.placement import FUSED_ACTIVATIONS, Placement
from jetseg.quantization.qdq.schemes import (
    REDUCED_WEIGHT_LIMIT,
    Quantizer,
    Scheme,
    integer_layer,
    weight_scales,
)
from jetseg.quantization.ranges import TensorRange

_LONG_DOMAIN = "com.microsoft"
_FLOAT8_OPSET = 19

_SHARE = TensorRange(low=0.0, high=1.0, amax=1.0, seen_low=0.0, seen_high=1.0)


def render_integers_(
    graph: Graph,
    placement: Placement,
    tensors: Mapping[str, TensorRange],
    scheme: Scheme,
    weight_limit: int = REDUCED_WEIGHT_LIMIT,
) -> onnx.ModelProto:
    """Renders a network for integer kernels, as those of ONNX Runtime.

    Activations are uint8 with a zero point, or int8 without; weights int8 per output channel, biases int32.

    Args:
        graph: The float network; it is changed in place.
        placement: Where quantizers stand.
        tensors: Calibrated ranges by activation.
        scheme: What the quantizers of activations compute, in 8 bits.
        weight_limit: Largest magnitude of a quantized weight; ONNX Runtime's kernels need the reduced range.

    Returns:
        The model of `graph`.

    Raises:
        CalibrationError: An activation has no range.
    """
    model = _render_(graph, placement, tensors, scheme, partial(_quantize_layer_, weight_limit=weight_limit))
    if scheme.symmetric:
        _round_before_activations_(graph, placement)
    return model


def render_rounded_(
    graph: Graph, placement: Placement, tensors: Mapping[str, TensorRange], scheme: Scheme
) -> onnx.ModelProto:
    """Renders a network for a runtime that rounds to a scheme's numbers and computes in float.

    It computes what that of `render_explicit_` does; its weights are stored as integers. Takes and raises the same.
    """

    def store_weight_(graph: Graph, layer: onnx.NodeProto, axis: int, _: Mapping[str, Constants]) -> None:
        integers, scale = scheme.weight_integers(graph.weight(layer.input[1]), axis)
        stored = _dequantized(graph, layer, "weight", integers, scale, axis)
        graph.set_inputs(layer, [layer.input[0], stored, *layer.input[2:]])

    return _render_(graph, placement, tensors, scheme, store_weight_)


def render_explicit_(
    graph: Graph, placement: Placement, tensors: Mapping[str, TensorRange], scheme: Scheme
) -> onnx.ModelProto:
    """Renders a network with a pair of QuantizeLinear and DequantizeLinear at each place.

    Activations have one scale, weights a scale per output channel, biases are float. Weights stay float values
    before their quantizer, so that the file can be trained on; a backend folds the quantizer into them.

    Args:
        graph: The float network; it is changed in place.
        placement: Where quantizers stand.
        tensors: Calibrated ranges by activation.
        scheme: What the quantizers compute. ONNX before opset 21 has no 16-bit quantizers; those are ONNX
            Runtime's own, of the domain com.microsoft. Those of 8-bit floats need opset 19;
            a network of an older one is lifted, and is another object then.

    Returns:
        The model of `graph`.

    Raises:
        CalibrationError: An activation has no range.
        ArtifactError: The network cannot be lifted to opset 19.
    """
    graph = lift(graph, _FLOAT8_OPSET) if scheme.floating else graph

    def insert_weight_(graph: Graph, layer: onnx.NodeProto, axis: int, _: Mapping[str, Constants]) -> None:
        weight = layer.input[1]
        scale = weight_scales(graph.weight(weight), axis, scheme.weight_limit)
        zero_point = np.zeros(scale.shape, scheme.weight_type)
        pair = _pair(graph, weight, f"{layer.output[0]}.weight", scale, zero_point, axis)
        last = graph.insert_before(layer, *pair)
        graph.set_inputs(layer, [layer.input[0], last.output[0], *layer.input[2:]])

    return _render_(graph, placement, tensors, scheme, insert_weight_)


def make_quantizers(placement: Placement, tensors: Mapping[str, TensorRange], scheme: Scheme) -> dict[str, Quantizer]:
    """Returns the quantizers that are written for a scheme, by activation.

    Raises:
        CalibrationError: An activation has no range.
    """
    return {name: scheme.quantizer(entry) for name, entry in _bounds(placement, tensors).items()}


def _render_(
    graph: Graph,
    placement: Placement,
    tensors: Mapping[str, TensorRange],
    scheme: Scheme,
    quantize_layer_: Callable[[Graph, onnx.NodeProto, int, Mapping[str, Constants]], None],
) -> onnx.ModelProto:
    """Inserts the quantizers of all activations, and what a function does to the layers that read them."""
    kind = scheme.activation_type
    found = make_quantizers(placement, tensors, scheme)
    quantizers: dict[str, Constants] = {
        name: (entry.scale, np.asarray(entry.zero_point, kind)) for name, entry in found.items()
    }
    nodes = graph.nodes
    if scheme.bits == 16:
        graph.model.opset_import.append(helper.make_opsetid(_LONG_DOMAIN, 1))
    _insert_activations_(graph, placement, None, graph.inputs, quantizers)
    for node in nodes:
        made: onnx.NodeProto | None = node
        if node.output[0] in placement.integer_nodes and len(node.input) > 1 and node.input[1] in placement.weights:
            quantize_layer_(graph, node, placement.weights[node.input[1]], quantizers)
        elif placement.integer_outputs and node.output[0] in placement.integer_nodes:
            made = in_integer_kernels_(graph, node, quantizers)
        if made is not None:
            _insert_activations_(graph, placement, made, made.output, quantizers)
    graph.drop_unused()
    graph.check()
    return graph.model


def _bounds(placement: Placement, tensors: Mapping[str, TensorRange]) -> dict[str, TensorRange]:
    tensors = {**tensors, **dict.fromkeys(placement.shares, _SHARE)}
    missing = sorted({source for source in placement.activations.values() if source not in tensors})
    if missing:
        raise CalibrationError(
            f"The ranges file lacks {len(missing)} of the network's tensors: {', '.join(missing[:5])}.",
            "Run `jetseg calibrate` again with this network.",
        )
    return {name: tensors[source] for name, source in placement.activations.items()}


def _insert_activations_(
    graph: Graph,
    placement: Placement,
    place: onnx.NodeProto | None,
    made: Iterable[str],
    quantizers: Mapping[str, Constants],
) -> None:
    """Inserts the pairs of what a node makes, or of the network's inputs, and points their quantized readers to them.

    An integer operator always reads the quantized tensor. A float operator reads the float tensor where a float
    operator made it, so that nothing is rounded that need not be.
    """
    for name in made:
        if name not in quantizers:
            continue
        scale, zero_point = quantizers[name]
        readers = [reader for reader in graph.readers(name) if placement.reads_rounded(graph, reader, name)]
        place = graph.insert_after(place, *_pair(graph, name, name, np.asarray(scale, np.float32), zero_point, None))
        for reader in readers:
            graph.replace_input(reader, name, place.output[0])


def _pair(
    graph: Graph,
    source: str,
    name: str,
    scale: npt.NDArray[np.float32],
    zero_point: npt.NDArray[Any],
    axis: int | None,
) -> tuple[onnx.NodeProto, onnx.NodeProto]:
    """Returns a quantizer of a tensor and its dequantizer; their constants are in the graph already."""
    constants = [
        graph.add_initializer(graph.free_name(f"{name}.{key}"), values)
        for key, values in (("scale", scale), ("zero_point", zero_point))
    ]
    where: dict[str, Any] = {} if axis is None else {"axis": axis}
    if zero_point.dtype.itemsize == 2:
        where["domain"] = _LONG_DOMAIN
    quantized, dequantized = (graph.free_name(f"{name}.{end}") for end in ("quantized", "dequantized"))
    return (
        helper.make_node(QUANTIZE, [source, *constants], [quantized], f"{name}.quantize", **where),
        helper.make_node(DEQUANTIZE, [quantized, *constants], [dequantized], f"{name}.dequantize", **where),
    )


def _round_before_activations_(graph: Graph, placement: Placement) -> None:
    """Repeats the quantizer behind an activation before it, or its layer would not write integers.

    A quantizer whose zero point is its lowest value does the work of a Relu; one that has negative values does not.
    Both quantizers have one scale, and rounding keeps the order of values, so what comes out stays the same.
    """
    for node in graph.nodes:
        maker = graph.producer.get(node.input[0]) if node.op_type in FUSED_ACTIVATIONS else None
        behind = next((reader for reader in graph.readers(node.output[0]) if reader.op_type == QUANTIZE), None)
        if maker is None or behind is None or maker.output[0] not in placement.integer_nodes:
            continue
        name, constants = node.input[0], behind.input[1:]
        quantized, dequantized = (graph.free_name(f"{name}.{end}") for end in ("quantized", "dequantized"))
        last = graph.insert_before(
            node,
            helper.make_node(QUANTIZE, [name, *constants], [quantized], f"{name}.quantize"),
            helper.make_node(DEQUANTIZE, [quantized, *constants], [dequantized], f"{name}.dequantize"),
        )
        graph.replace_input(node, name, last.output[0])


def _quantize_layer_(
    graph: Graph, layer: onnx.NodeProto, axis: int, quantizers: Mapping[str, Constants], *, weight_limit: int
) -> None:
    """Puts dequantizers over the weight and bias of a layer whose input is quantized already."""
    activation_scale, _ = quantizers[before_quantizers(graph, layer.input[0])]
    weight = graph.weight(layer.input[1])
    has_bias = len(layer.input) > 2 and bool(layer.input[2])
    bias = graph.weight(layer.input[2]) if has_bias else np.zeros(weight.shape[axis], np.float32)
    found = integer_layer(weight, bias, axis, float(activation_scale), weight_limit)
    weights = _dequantized(graph, layer, "weight", found.weight, found.weight_scale, axis)
    inputs = [layer.input[0], weights, *layer.input[2:]]
    if has_bias:
        inputs[2] = _dequantized(graph, layer, "bias", found.bias.astype(np.int32), found.bias_scale, 0)
    graph.set_inputs(layer, inputs)


def _dequantized(
    graph: Graph,
    layer: onnx.NodeProto,
    role: str,
    integers: npt.NDArray[np.generic],
    scale: npt.NDArray[np.float32],
    axis: int,
) -> str:
    """Inserts integers with a dequantizer per output channel before a layer; returns the name of its output."""
    name, zeros = f"{layer.output[0]}.{role}", np.zeros(len(scale), dtype=integers.dtype)
    inputs = [
        graph.add_initializer(graph.free_name(f"{name}.{key}"), np.asarray(values))
        for key, values in (("quantized", integers), ("scale", scale), ("zero_point", zeros))
    ]
    output = graph.free_name(f"{name}.dequantized")
    domain = _LONG_DOMAIN if integers.dtype.itemsize == 2 else None
    node = helper.make_node(DEQUANTIZE, inputs, [output], f"{name}.dequantize", axis=axis, domain=domain)
    graph.insert_before(layer, node)
    return output
