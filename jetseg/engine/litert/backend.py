"""Builds LiteRT files and runs them on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from pydantic import Field

from jetseg.config import Settings
from jetseg.engine.backend import Backend, BuildReport, BuildRequest, Candidate
from jetseg.engine.litert.conversion import check_converter, convert
from jetseg.engine.litert.counterparts import find_counterparts
from jetseg.engine.litert.library import load_schema
from jetseg.engine.litert.model_file import ModelFile
from jetseg.engine.litert.quantize import Numbers, Quantization
from jetseg.engine.litert.runner import LiteRTRunner
from jetseg.engine.litert.weights import halve_weights_, quantize_weights_
from jetseg.errors import ConfigError, QualityError
from jetseg.manifest import Precision
from jetseg.network import Network
from jetseg.onnx.cost import product_macs, products
from jetseg.onnx.graph import Graph
from jetseg.onnx.signature import input_shape
from jetseg.provenance import toolchain
from jetseg.quantization.arithmetic import Arithmetic
from jetseg.quantization.qdq.placement import absorbed_output, check_layers
from jetseg.quantization.qdq.schemes import SCHEMES
from jetseg.quantization.ranges import RangesRecord

_PRECISIONS = ("fp32", "fp16", "int8", "int16")
_SLOW = "16-bit activations: LiteRT has plain kernels for them only, which are slower than float ones."
_PACKAGES = ("ai-edge-litert", "litert-torch")


class LiteRTOptions(Settings):
    """Settings of this backend."""

    integers: Literal["inner", "all", "ends"] = Field(
        "inner",
        description="What runs on integers in int8: inner leaves the last layers in float; all has these on integers, "
        "between float ends; ends also takes and gives integers, for chips that have nothing else.",
    )
    activations: Literal["static", "dynamic"] = Field(
        "static", description="dynamic: weights in 8 bits, activations rounded as they come, without ranges."
    )


class LiteRT(Backend):
    """LiteRT on the CPU, by XNNPACK; see `jetseg.engine.backend.Backend`."""

    suffix = ".tflite"
    arithmetic = "litert"
    schemes = ("uint8", "int16w8")
    candidates = (Candidate("fp32", "fp32"), Candidate("int8", "int8"))
    options = LiteRTOptions
    in_calling_thread = True

    def check(self, precision: Precision, options: Any) -> None:  # noqa: ANN401 - an instance of `LiteRTOptions`
        """Refuses what cannot be built, before any long work.

        Raises:
            ConfigError: LiteRT lacks the precision, or the options contradict it.
            MissingDependencyError: LiteRT or its converter is not installed.
        """
        if precision not in _PRECISIONS:
            raise ConfigError(f"LiteRT has no {precision} kernels.", f"Choose `precision` {', '.join(_PRECISIONS)}.")
        if options.integers != "inner" and precision != "int8":
            raise ConfigError(
                f"`integers` {options.integers} is for int8, and this is {precision}.", "Leave out the option."
            )
        if options.activations == "dynamic" and (precision != "int8" or options.integers != "inner"):
            raise ConfigError("`activations` dynamic is for int8 with float ends.", "Leave out the other option.")
        load_schema()
        check_converter()

    def takes_ranges(self, precision: Precision, options: Any) -> bool:  # noqa: ANN401 - an instance of `LiteRTOptions`
        """Tells whether an engine is calibrated first: not where activations are rounded as they come."""
        return super().takes_ranges(precision, options) and options.activations == "static"

    def build(self, request: BuildRequest) -> BuildReport:
        """Builds an engine; what litert-torch made is compared with the network tensor by tensor before.

        Raises:
            ArtifactError: The network cannot be converted.
            CalibrationError: The ranges do not cover the network.
            ConfigError: A layer that shall stay in float does not exist.
            QualityError: The converted file computes something else.
        """
        graph, options = request.network.float_graph(), request.options or LiteRTOptions()
        layers, macs = products(graph), product_macs(graph, input_shape(request.network.manifest.input))
        content = convert(request.network)
        file = ModelFile(content)
        counterparts = find_counterparts(request.network, graph, content, file)
        on_integers, written, note = frozenset[str](), dict[int, Numbers](), None
        if request.precision == "fp16":
            halve_weights_(file)
            note = "fp16: weights are half as large; XNNPACK computes in float32 on this processor."
        elif request.precision == "int8" and options.activations == "dynamic":
            note = f"{quantize_weights_(file)} layers have 8-bit weights; activations are rounded as they come."
        elif request.ranges is not None and request.precision != "fp32":
            check_layers(graph.producer, request.keep_float)
            arithmetic = Arithmetic(SCHEMES[request.scheme or "uint8"], "litert", options.integers != "inner")
            job = _quantization(file, counterparts, graph, arithmetic, request.ranges, request.keep_float)
            on_integers = job.run(ends=options.integers == "ends")
            note = _SLOW if arithmetic.scheme.bits == 16 else None
            if options.integers == "ends" and {file.type(place) for place in file.inputs + file.outputs} != {job.kind}:
                note = "Not both ends are integers: a float operator reads what goes in, or makes what comes out."
            elif options.integers != "inner" and (kinds := float_operators(file)):
                note = f"In float, without a kernel on integers: {', '.join(kinds)}."
            written = job.written
        changed = file.to_bytes() if request.precision != "fp32" else content
        check_written(changed, file, written)
        request.destination.write_bytes(changed)
        made = {node.output[0]: absorbed_output(graph, node) for node in graph.nodes}
        integer = tuple(name for name in layers if {name, made[name]} & on_integers)
        rest = tuple(name for name in layers if name not in integer)
        return BuildReport(integer, rest, macs, note=note, toolchain=_versions())

    def open(self, network: Network, threads: int | None = None) -> LiteRTRunner:
        """Opens a LiteRT file."""
        return LiteRTRunner(network, threads)


def float_operators(file: ModelFile) -> list[str]:
    """Returns the kinds of operators of a file that make float numbers of float numbers."""
    kinds = set()
    for operator in file.operators:
        ends = [int(place) for place in (*operator.inputs[:1], *operator.outputs)]
        if all(file.type(place) == "FLOAT32" for place in ends):
            kinds.add(file.kind(operator))
    return sorted(kinds)


def check_written(content: bytes, file: ModelFile, written: Mapping[int, Numbers]) -> None:
    """Reads a file back: every quantized tensor must have the numbers of its range, every constant its values.

    Args:
        content: The file.
        file: What was to be written.
        written: Scale and zero point of each tensor on integers.

    Raises:
        QualityError: Something else is in the file.
    """
    again = ModelFile(content)
    for place, numbers in written.items():
        found = again.quantization(place)
        if found is None or (*found[0], *found[1]) != numbers or again.type(place) == "FLOAT32":
            raise QualityError(f"Tensor {place} of the LiteRT file has not the scale of its range.")
    for place, values in file.added.items():
        constant, scale, told = again.constant(place), file.quantization(place), again.quantization(place)
        same = scale is None or (told is not None and np.array_equal(scale[0], told[0]))
        if constant is None or not np.array_equal(constant, values) or not same:
            raise QualityError(f"Constant {place} of the LiteRT file is not what was to be written.")


def _quantization(
    file: ModelFile,
    counterparts: Mapping[int, tuple[str, ...]],
    graph: Graph,
    arithmetic: Arithmetic,
    ranges: RangesRecord,
    keep_float: frozenset[str],
) -> Quantization:
    placement = arithmetic.place(graph, ranges.placement, ranges.tensors, keep_float)
    quantizers = arithmetic.quantizers(placement, ranges.tensors)
    return Quantization(file, counterparts, graph, placement, quantizers, arithmetic.scheme)


def _versions() -> dict[str, str]:
    return {name: version for name, version in toolchain(_PACKAGES).items() if name in _PACKAGES}
