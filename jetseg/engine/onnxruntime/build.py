"""Builds CPU engines: ONNX files that ONNX Runtime's integer kernels run as they stand."""

from __future__ import annotations

from pathlib import Path

from jetseg.calibrate.graph import FloatGraph, load_float_graph
from jetseg.calibrate.placement import is_matrix_layer, place_for_integer_kernels
from jetseg.calibrate.qdq import render_unsigned_
from jetseg.calibrate.ranges import Ranges
from jetseg.engine.contract import BuildReport
from jetseg.errors import ConfigError
from jetseg.manifest import Manifest, Precision

ENGINE_SUFFIX = ".onnx"


def build(
    model: Path,
    manifest: Manifest,
    precision: Precision,
    ranges: Ranges | None,
    destination: Path,
    keep_float: frozenset[str] = frozenset(),
) -> BuildReport:
    """Builds an engine; see `jetseg.engine.contract.BuildReport` for what it returns.

    Args:
        model: Float ONNX file.
        manifest: Its manifest.
        precision: "fp32" or "int8".
        ranges: Calibrated ranges; needed for int8.
        destination: File to write.
        keep_float: Layers, by output, that stay in float.

    Raises:
        ConfigError: ONNX Runtime's CPU kernels lack the precision, or a layer in `keep_float` does not exist.
        CalibrationError: The ranges do not cover the network.
    """
    del manifest
    if precision == "fp16":
        raise ConfigError("ONNX Runtime has no fp16 kernels for this processor.", "Choose --precision fp32 or int8.")
    graph = load_float_graph(model)
    layers = _layers(graph)
    if precision == "fp32" or ranges is None:
        destination.write_bytes(graph.model.SerializeToString())
        return BuildReport(integer_layers=(), float_layers=tuple(layers))
    unknown = sorted(keep_float - set(layers))
    if unknown:
        raise ConfigError(f"The network has no layer {', '.join(unknown)}.", "Name layers by their output tensors.")
    placement = place_for_integer_kernels(graph, keep_float)
    destination.write_bytes(render_unsigned_(graph, placement, ranges.tensors).SerializeToString())
    return BuildReport(
        integer_layers=tuple(name for name in layers if name in placement.integer_nodes),
        float_layers=tuple(name for name in layers if name not in placement.integer_nodes),
    )


def _layers(graph: FloatGraph) -> list[str]:
    """Returns the convolutions and matrix products, each by its output tensor."""
    return [str(node.output[0]) for node in graph.model.graph.node if is_matrix_layer(graph, node)]
