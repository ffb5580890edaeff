"""The ONNX network that a plan is built from: float, half precision, bfloat16, or with symmetric quantizers."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx

from jetseg.engine.backend import BuildRequest
from jetseg.engine.tensorrt.legalize import legalize_
from jetseg.errors import ArtifactError
from jetseg.input_spec import InputSpec
from jetseg.manifest import QUANTIZED
from jetseg.onnx.bfloat import to_bfloat16_
from jetseg.onnx.cost import product_macs, products
from jetseg.onnx.graph import Graph
from jetseg.onnx.quantizers import DEQUANTIZE, QUANTIZE, of_type
from jetseg.onnx.signature import input_shape
from jetseg.quantization.qdq.placement import matrix_layers
from jetseg.quantization.qdq.schemes import SCHEMES
from jetseg.quantization.render import insert_quantizers_

_LOG = logging.getLogger(__name__)

_LEAST_HALF = np.float32(2.0**-14)
"""The smallest number with all digits in half precision."""


@dataclass(frozen=True)
class BuildSource:
    """A network to build from.

    Attributes:
        model: The network.
        integer_layers: Convolutions and matrix products with quantizers, 8-bit floats included, by output tensor.
        float_layers: The others.
        macs: Multiply-accumulates of one frame in each of them.
    """

    model: onnx.ModelProto
    integer_layers: tuple[str, ...] = ()
    float_layers: tuple[str, ...] = ()
    macs: Mapping[str, int] = field(default_factory=dict)


def strongly_typed_source(
    request: BuildRequest, *, half_rest: bool = False, kept_open: frozenset[int] = frozenset()
) -> BuildSource:
    """Renders a network whose data types say what each layer computes in.

    Args:
        request: What is built.
        half_rest: What is not quantized in a network with quantizers is float16, these' scales included.
        kept_open: Axes of the input that keep any size.

    Raises:
        CalibrationError: The ranges do not cover the network.
        ConfigError: A layer that shall stay in float does not exist.
        ArtifactError: The network is broken.
    """
    graph = request.network.float_graph()
    layers, macs = products(graph), product_macs(graph, input_shape(request.network.manifest.input))
    integer: tuple[str, ...] = ()
    if request.precision in QUANTIZED and request.ranges is not None:
        quantizable = matrix_layers(graph)
        scheme = SCHEMES[request.scheme or "int8"]
        graph = Graph(insert_quantizers_(graph, request.ranges, None, request.keep_float, scheme))
        if half_rest:
            _fit_scales_to_half_(graph)
            graph = _to_half(graph)
        integer = tuple(name for name in quantizable if name not in request.keep_float)
    elif request.precision == "fp16":
        graph = _to_half(graph)
    elif request.precision == "bf16":
        to_bfloat16_(graph)
    _fit_to_parser_(graph, request.network.manifest.input, kept_open)
    return BuildSource(graph.model, integer, tuple(name for name in layers if name not in integer), macs)


def float_source(request: BuildRequest, kept_open: frozenset[int] = frozenset()) -> BuildSource:
    """Loads the float network where TensorRT decides what each layer computes in.

    Args:
        request: What is built.
        kept_open: Axes of the input that keep any size.
    """
    graph = request.network.float_graph()
    _fit_to_parser_(graph, request.network.manifest.input, kept_open)
    return BuildSource(graph.model)


def _fit_to_parser_(graph: Graph, spec: InputSpec, kept_open: frozenset[int]) -> None:
    fix_input_size_(graph, spec, kept_open)
    for sentence in legalize_(graph):
        _LOG.info("Legalized: %s.", sentence)
    graph.check()


def _to_half(graph: Graph) -> Graph:
    from jetseg.onnx.session import to_float16  # ONNX Runtime is not needed for anything else here

    return Graph(to_float16(graph.model))


def _fit_scales_to_half_(graph: Graph) -> None:
    """Makes scales ready for half precision, which below 6e-5 has fewer and fewer digits, and then none.

    A weight's scale is raised to that: such a channel is nearly dead. An activation's is refused.
    """
    for name in sorted({node.input[1] for node in of_type(graph, QUANTIZE, DEQUANTIZE)} & graph.weights.keys()):
        values = graph.weight(name)
        if values.ndim:
            graph.set_weight(name, np.maximum(values, _LEAST_HALF))
        elif values < _LEAST_HALF:
            raise ArtifactError(
                f"{name} is {values:.3g}, which half precision cannot hold.",
                "Leave out `options` rest=fp16, or scale the network's input so that its values are about 1.",
            )


def fix_input_size_(graph: Graph, spec: InputSpec, kept_open: frozenset[int] = frozenset()) -> None:
    """Gives the input that the manifest describes its size, batch 1, where the network leaves that open.

    Args:
        graph: The network; it is changed in place.
        spec: What the manifest says.
        kept_open: Axes that stay open.
    """
    sizes = {axis: size for axis, size in enumerate(input_shape(spec)) if axis not in kept_open}
    for name in graph.inputs:
        if name == spec.name or len(graph.inputs) == 1:
            graph.fix_input_size(name, sizes)
