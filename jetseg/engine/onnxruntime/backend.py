"""Builds CPU engines: ONNX files that ONNX Runtime's integer kernels run as they stand."""

from __future__ import annotations

from collections.abc import Sequence

from jetseg.engine.backend import Backend, BuildReport, BuildRequest, Candidate, StepTime
from jetseg.engine.onnxruntime.attention import faster_products
from jetseg.engine.onnxruntime.runner import OnnxRunner
from jetseg.engine.onnxruntime.step_times import step_times, units
from jetseg.engine.timing import build_for_timing
from jetseg.errors import ConfigError
from jetseg.latency.unit import Unit
from jetseg.manifest import QUANTIZED, Precision
from jetseg.network import Network
from jetseg.onnx.cost import product_macs, products
from jetseg.onnx.signature import input_shape
from jetseg.quantization.arithmetic import find_arithmetic
from jetseg.quantization.qdq.placement import check_layers
from jetseg.storage import scratch_folder

_ROUNDED = (
    "16-bit: rounded, computed in float. ONNX Runtime has no integer kernels for it, so it is no faster than fp32."
)


class OnnxRuntime(Backend):
    """ONNX Runtime on the CPU; see `jetseg.engine.backend.Backend`."""

    suffix = ".onnx"
    arithmetic = "onnxruntime"
    schemes = ("uint8", "int8", "int16", "uint16", "int16w8", "uint16w8")
    candidates = (Candidate("fp32", "fp32"), Candidate("int8", "int8"))
    in_calling_thread = True

    def check(self, precision: Precision, options: object) -> None:
        """Refuses other floats than float32.

        Raises:
            ConfigError: ONNX Runtime's CPU kernels lack the precision.
        """
        del options
        if precision in ("fp16", "bf16", "fp8"):
            raise ConfigError(
                f"ONNX Runtime has no {precision} kernels for this processor.",
                "Choose `precision` fp32, int8 or int16.",
            )

    def build(self, request: BuildRequest) -> BuildReport:
        """Builds an engine.

        Raises:
            ConfigError: A layer that shall stay in float does not exist.
            CalibrationError: The ranges do not cover the network.
        """
        graph, ranges = request.network.float_graph(), request.ranges
        layers, macs = products(graph), product_macs(graph, input_shape(request.network.manifest.input))
        if request.precision == "fp32" or ranges is None:
            request.destination.write_bytes(graph.model.SerializeToString())
            return BuildReport(float_layers=layers, macs=macs)
        arithmetic = find_arithmetic("onnxruntime", request.scheme)
        faster = faster_products(graph, ranges.tensors) if arithmetic.multiplies_activations else frozenset[str]()
        check_layers(graph.producer, request.keep_float)
        placement = arithmetic.place(graph, ranges.placement, ranges.tensors, request.keep_float, faster)
        request.destination.write_bytes(arithmetic.render(graph, placement, ranges.tensors).SerializeToString())
        integer = placement.integer_nodes if arithmetic.on_integers else frozenset[str]()
        return BuildReport(
            integer_layers=tuple(name for name in layers if name in integer),
            float_layers=tuple(name for name in layers if name not in integer),
            macs=macs,
            note=None if arithmetic.on_integers else _ROUNDED,
        )

    def open(self, network: Network, threads: int | None = None) -> OnnxRunner:
        """Opens an ONNX file.

        A Q/DQ network that was rendered for another backend is computed as it stands: this processor's integer kernels
        could saturate where that backend's do not.
        """
        manifest = network.manifest
        foreign = manifest.kind == "onnx" and manifest.precision in QUANTIZED
        return OnnxRunner(network.path, manifest, threads, sha256=network.sha256, optimize=not foreign)

    def step_times(self, engines: Sequence[Network], threads: int) -> list[list[StepTime]]:
        """Times the steps of engines; see `jetseg.engine.onnxruntime.step_times`."""
        return step_times(engines, threads)

    def units(self, network: Network, precision: Precision) -> list[Unit]:
        """Builds an engine with the ranges of noise, and runs it once: what is fused depends on the processor."""
        if network.manifest.kind == "engine":
            return units(network)
        with scratch_folder("jetseg-units-") as folder:
            return units(build_for_timing(network, folder, "onnxruntime", precision))
