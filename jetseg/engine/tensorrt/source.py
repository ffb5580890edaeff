"""The ONNX network that a plan is built from: float, half precision, or with symmetric quantizers."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from jetseg.calibrate.graph import load_float_graph
from jetseg.calibrate.placement import check_layers, matrix_layers
from jetseg.engine.contract import BuildRequest
from jetseg.engine.rendering import qdq_network
from jetseg.manifest import InputSpec
from jetseg.ports import input_shape


@dataclass(frozen=True)
class Source:
    """A network to build from.

    Attributes:
        model: The network.
        integer_layers: Convolutions and matrix products with quantizers, by output tensor.
        float_layers: The others.
    """

    model: onnx.ModelProto
    integer_layers: tuple[str, ...]
    float_layers: tuple[str, ...]


def strongly_typed_source(request: BuildRequest) -> Source:
    """Renders a network whose data types say what each layer computes in.

    Raises:
        CalibrationError: The ranges do not cover the network.
        ConfigError: A layer that shall stay in float does not exist.
        ArtifactError: The network is broken.
    """
    graph = load_float_graph(request.model)
    layers = matrix_layers(graph)
    integer: tuple[str, ...] = ()
    if request.precision == "int8" and request.ranges is not None:
        model = qdq_network(request.model, request.ranges, keep_float=request.keep_float)
        integer = tuple(name for name in layers if name not in request.keep_float)
    elif request.precision == "fp16":
        from jetseg.ort import to_float16

        model = to_float16(graph.model)
    else:
        check_layers(graph, request.keep_float)
        model = graph.model
    fix_input_size_(model, request.manifest.input)
    return Source(model, integer, tuple(name for name in layers if name not in integer))


def float_source(request: BuildRequest) -> Source:
    """Loads the float network for implicit quantization, where TensorRT places the quantizers itself."""
    graph = load_float_graph(request.model)
    fix_input_size_(graph.model, request.manifest.input)
    return Source(graph.model, matrix_layers(graph), ())


def fix_input_size_(model: onnx.ModelProto, spec: InputSpec) -> None:
    """Gives the input that the manifest describes its size, batch 1, where the network leaves that open."""
    ports = [port for port in model.graph.input if port.name == spec.name or len(model.graph.input) == 1]
    for port in ports:
        dims = port.type.tensor_type.shape.dim
        for dim, size in zip(dims, input_shape(spec), strict=False):
            if not dim.HasField("dim_value"):
                dim.dim_value = size
