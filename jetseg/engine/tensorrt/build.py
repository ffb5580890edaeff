"""Builds TensorRT engines, on the device that will run them."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import ExitStack
from types import ModuleType
from typing import Any

from jetseg.data.dataset import match_input, open_split
from jetseg.engine.backend import BuildReport, BuildRequest
from jetseg.engine.gpu_precisions import lacks
from jetseg.engine.tensorrt.calibrator import frames_on_device, has_calibrators, make_calibrator
from jetseg.engine.tensorrt.gpu import Gpu, load_pycuda, probe_driver, release
from jetseg.engine.tensorrt.layers import inspect_layers
from jetseg.engine.tensorrt.library import load_tensorrt
from jetseg.engine.tensorrt.log import make_log
from jetseg.engine.tensorrt.options import TensorRTOptions, check_options
from jetseg.engine.tensorrt.plan import build_plan
from jetseg.engine.tensorrt.shapes import open_axes, shape_range
from jetseg.engine.tensorrt.source import BuildSource, float_source, strongly_typed_source
from jetseg.engine.tensorrt.timing import save_timing_cache, timing_cache_path, use_timing_cache_
from jetseg.errors import CalibrationError, ConfigError, DeviceError
from jetseg.evaluation.accuracy import spread
from jetseg.input_spec import InputSpec
from jetseg.manifest import Precision
from jetseg.onnx.signature import input_shape
from jetseg.preprocess import NetworkInput, Preprocessor
from jetseg.quantization.tensorrt.cache import missing_names, render_cache
from jetseg.storage import write_bytes

_LOG = logging.getLogger(__name__)
MEGABYTE = 1 << 20
LEAST_FREE_MB = 256
"""With less free memory no build is begun."""


def check(precision: Precision, options: TensorRTOptions) -> None:
    """Refuses what cannot be built, before any long work.

    Raises:
        MissingDependencyError: TensorRT or pycuda is not installed.
        DeviceError: There is no GPU.
        ConfigError: This TensorRT cannot follow an option, options contradict each other, or the GPU lacks the
            precision.
    """
    trt = load_tensorrt()
    probe_driver()
    load_pycuda()
    check_options(trt, precision, options)
    if precision in ("bf16", "fp8"):  # not on every GPU that TensorRT runs on
        gpu = Gpu()
        gpu.close()
        major, minor = gpu.facts.compute_capability
        if (why := lacks(f"{major}.{minor}", precision)) is not None:
            raise ConfigError(f"{gpu.facts.name} cannot run it: {why}.", "Choose `precision` int8 or fp16.")


def build(request: BuildRequest) -> BuildReport:
    """Builds an engine.

    Raises:
        ArtifactError: TensorRT refuses the network; each reason is a line.
        DeviceError: The GPU is not there, or has too little free memory.
        CalibrationError: The ranges do not cover the network.
        ConfigError: A layer that shall stay in float does not exist.
    """
    trt = load_tensorrt()
    with ExitStack() as opened:
        gpu = Gpu()
        opened.callback(gpu.close)
        return _build_on(gpu, trt, request, opened)


def workspace_bytes(asked_mb: int | None, free_bytes: int) -> int:
    """Returns the builder's workspace: what was asked for, or half of what is free.

    Raises:
        DeviceError: So much is not free, or too little to begin.

    >>> workspace_bytes(None, 4096 * MEGABYTE) // MEGABYTE
    2048
    """
    free_mb = free_bytes // MEGABYTE
    needed_mb = max(LEAST_FREE_MB, asked_mb or 0)
    if free_mb < needed_mb:
        raise DeviceError(
            f"The device has {free_mb} MB of memory free, and this build needs {needed_mb} MB.",
            "Close other programs or give a smaller `options` workspace_mb=N, and build again."
            if needed_mb > LEAST_FREE_MB
            else "Close other programs, the desktop first, and build again.",
        )
    return asked_mb * MEGABYTE if asked_mb else free_bytes // 2


def _build_on(gpu: Gpu, trt: ModuleType, request: BuildRequest, opened: ExitStack) -> BuildReport:
    options: TensorRTOptions = request.options
    if options.dla_core is not None:
        with gpu.active():
            _check_dla_cores(trt, options.dla_core)
    implicit = request.precision == "int8" and options.quantization == "implicit"
    weakly_typed = implicit or (options.dla_core is not None and has_calibrators(trt))
    timings = options.timing_cache or timing_cache_path(gpu.facts, trt.__version__)
    kept_open = open_axes(request.network.manifest.input, options)
    source = (
        float_source(request, kept_open)
        if weakly_typed
        else strongly_typed_source(request, half_rest=options.rest == "fp16", kept_open=kept_open)
    )
    shapes = shape_range(source.model, request.network.manifest.input, options)
    calibrator = _calibrator(gpu, trt, request, source, opened) if implicit else None
    kept: list[Any] = []

    def configure(settings: Any) -> None:  # noqa: ANN401
        workspace = workspace_bytes(options.workspace_mb, gpu.free_bytes())
        settings.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace)
        settings.builder_optimization_level = options.optimization_level
        settings.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
        if request.precision == "fp32":  # the reference: no shortened mantissas
            settings.clear_flag(trt.BuilderFlag.TF32)
        if weakly_typed:
            settings.set_flag(trt.BuilderFlag.FP16)
        if calibrator is not None:
            settings.set_flag(trt.BuilderFlag.INT8)
            settings.int8_calibrator = calibrator
        follow_options_(settings, trt, options)
        use_timing_cache_(settings, timings)
        kept.append(settings)

    with gpu.active():
        plan = build_plan(
            trt,
            source.model,
            configure,
            strongly_typed=not weakly_typed,
            callbacks=() if calibrator is None else (calibrator,),
            shapes=shapes,
        )
        if options.calibration_cache is not None and calibrator is not None and calibrator.written:
            write_bytes(options.calibration_cache, calibrator.written)
        save_timing_cache(kept[0], timings)
        layers = inspect_layers(trt, plan, options)
    request.destination.write_bytes(plan)
    return BuildReport(
        source.integer_layers,
        source.float_layers,
        source.macs,
        layer_precisions=layers.precisions,
        layer_devices=layers.devices,
        hops=layers.hops,
        device=gpu.facts.label,
        toolchain=_versions(trt, gpu),
    )


def follow_options_(settings: Any, trt: ModuleType, options: TensorRTOptions) -> None:  # noqa: ANN401
    """Hands on what a builder's settings take as it is: sparsity, the DLA, and where the engine shall open."""
    if options.sparse_weights:
        settings.set_flag(trt.BuilderFlag.SPARSE_WEIGHTS)
    if options.version_compatible:
        settings.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if options.hardware == "same-capability":
        settings.hardware_compatibility_level = trt.HardwareCompatibilityLevel.SAME_COMPUTE_CAPABILITY
    elif options.hardware == "ampere-plus":
        settings.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
    if options.dla_core is not None:
        settings.default_device_type = trt.DeviceType.DLA
        settings.DLA_core = options.dla_core
        settings.set_flag(trt.BuilderFlag.GPU_FALLBACK)


def _check_dla_cores(trt: ModuleType, core: int) -> None:
    runtime = trt.Runtime(make_log(trt))
    cores = runtime.num_DLA_cores
    if core >= cores:
        raise DeviceError(
            f"TensorRT {trt.__version__} offers {cores} DLA cores here, and core {core} was asked for.",
            "Leave out the option dla_core: the GPU runs the network. Orin's DLA needs TensorRT 10.3 or 11.4.1."
            if cores == 0
            else f"Give `options` dla_core=N with N below {cores}.",
        )


def _calibrator(gpu: Gpu, trt: ModuleType, request: BuildRequest, source: BuildSource, opened: ExitStack) -> Any:  # noqa: ANN401
    """Makes the calibrator of an implicit build: fed with frames, or with scales from the ranges file."""
    options: TensorRTOptions = request.options
    if request.keep_float:
        raise ConfigError("Implicit quantization keeps no single layers in float.", "Leave quantization explicit.")
    if options.calibration_data is not None:
        spec = request.network.manifest.input
        frames = frames_on_device(gpu, _frames(options, spec), _input_bytes(spec))
        return make_calibrator(trt, next_frame=opened.enter_context(frames))
    if request.ranges is None:
        raise CalibrationError("An int8 engine needs ranges.", "Give `calibration` or `data`.")
    ranges = {name: entry.amax for name, entry in request.ranges.tensors.items()}
    missing = missing_names(ranges, [name for node in source.model.graph.node for name in node.output])
    if missing:
        _LOG.info(
            "No range for %d tensors (%s...): where TensorRT does not fuse them away, what reads them stays in float.",
            len(missing),
            ", ".join(missing[:3]),
        )
    return make_calibrator(trt, cache=render_cache(ranges, trt.__version__).encode())


def _frames(options: TensorRTOptions, spec: InputSpec) -> Iterator[NetworkInput]:
    dataset = match_input(open_split(str(options.calibration_data), options.calibration_split), spec)
    preprocess = Preprocessor(spec)
    for index in spread(len(dataset), options.calibration_images):
        yield preprocess(dataset[index].image_hwc_u8)


def _input_bytes(spec: InputSpec) -> int:
    return math.prod(input_shape(spec)) * (1 if spec.kind == "frame" else 4)


def _versions(trt: ModuleType, gpu: Gpu) -> dict[str, str]:
    versions = {"tensorrt": str(trt.__version__), "cuda": gpu.facts.cuda}
    jetson = release()
    return versions | ({"l4t": jetson} if jetson else {})
