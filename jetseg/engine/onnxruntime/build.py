"""Builds CPU engines: ONNX files that ONNX Runtime's integer kernels run as they stand."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from jetseg.engine.contract import BuildReport, BuildRequest, Candidate
from jetseg.errors import ConfigError
from jetseg.manifest import Precision
from jetseg.onnx.float_graph import load_float_graph
from jetseg.quantization.calibration import Target
from jetseg.quantization.qdq.insertion import render_unsigned_
from jetseg.quantization.qdq.integer_placement import place_for_integer_kernels
from jetseg.quantization.qdq.placement import check_layers, matrix_layers

ENGINE_SUFFIX = ".onnx"
ARITHMETIC: Target = "onnxruntime"
CANDIDATES = (Candidate("fp32", "fp32"), Candidate("int8", "int8"))


class Options(BaseModel):
    """This backend has no options of its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def check(precision: Precision, options: Options) -> None:
    """Refuses what cannot be built, before any long work.

    Raises:
        ConfigError: ONNX Runtime's CPU kernels lack the precision.
    """
    del options
    if precision == "fp16":
        raise ConfigError("ONNX Runtime has no fp16 kernels for this processor.", "Choose --precision fp32 or int8.")


def build(request: BuildRequest) -> BuildReport:
    """Builds an engine.

    Raises:
        ConfigError: A layer that shall stay in float does not exist.
        CalibrationError: The ranges do not cover the network.
    """
    graph = load_float_graph(request.model)
    layers = matrix_layers(graph)
    if request.precision == "fp32" or request.ranges is None:
        request.destination.write_bytes(graph.model.SerializeToString())
        return BuildReport(integer_layers=(), float_layers=layers)
    check_layers(layers, request.keep_float)
    placement = place_for_integer_kernels(graph, request.keep_float)
    request.destination.write_bytes(render_unsigned_(graph, placement, request.ranges.tensors).SerializeToString())
    return BuildReport(
        integer_layers=tuple(name for name in layers if name in placement.integer_nodes),
        float_layers=tuple(name for name in layers if name not in placement.integer_nodes),
    )
