"""Builds CPU engines: ONNX files that ONNX Runtime's integer kernels run as they stand."""

from __future__ import annotations

from jetseg.engine.backend import Backend, BuildReport, BuildRequest, Candidate
from jetseg.engine.onnxruntime.runner import OnnxRunner
from jetseg.errors import ConfigError
from jetseg.manifest import Precision
from jetseg.network import Network
from jetseg.quantization.qdq.insertion import render_unsigned_
from jetseg.quantization.qdq.integer_placement import place_for_integer_kernels
from jetseg.quantization.qdq.placement import check_layers, matrix_layers


class OnnxRuntime(Backend):
    """ONNX Runtime on the CPU; see `jetseg.engine.backend.Backend`."""

    suffix = ".onnx"
    arithmetic = "onnxruntime"
    candidates = (Candidate("fp32", "fp32"), Candidate("int8", "int8"))
    in_calling_thread = True

    def check(self, precision: Precision, options: object) -> None:
        """Refuses half precision.

        Raises:
            ConfigError: ONNX Runtime's CPU kernels lack the precision.
        """
        del options
        if precision == "fp16":
            raise ConfigError(
                "ONNX Runtime has no fp16 kernels for this processor.", "Choose `precision` fp32 or int8."
            )

    def build(self, request: BuildRequest) -> BuildReport:
        """Builds an engine.

        Raises:
            ConfigError: A layer that shall stay in float does not exist.
            CalibrationError: The ranges do not cover the network.
        """
        graph = request.network.float_graph()
        layers = matrix_layers(graph)
        if request.precision == "fp32" or request.ranges is None:
            request.destination.write_bytes(graph.model.SerializeToString())
            return BuildReport(float_layers=layers)
        check_layers(layers, request.keep_float)
        placement = place_for_integer_kernels(graph, request.keep_float)
        request.destination.write_bytes(render_unsigned_(graph, placement, request.ranges.tensors).SerializeToString())
        return BuildReport(
            integer_layers=tuple(name for name in layers if name in placement.integer_nodes),
            float_layers=tuple(name for name in layers if name not in placement.integer_nodes),
        )

    def open(self, network: Network, threads: int | None = None) -> OnnxRunner:
        """Opens an ONNX file.

        A Q/DQ network that was rendered for another backend is computed as it stands: this processor's integer kernels
        could saturate where that backend's do not.
        """
        manifest = network.manifest
        foreign = manifest.kind == "onnx" and manifest.precision in ("int8", "int16")
        return OnnxRunner(network.path, manifest, threads, optimize=not foreign)
