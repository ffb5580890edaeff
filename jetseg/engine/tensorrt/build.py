"""Builds TensorRT engines, on the device that will run them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from jetseg.calibrate.calibration import Target
from jetseg.calibrate.tensorrt_cache import missing_names, parse_cache, render_cache
from jetseg.data.specs import open_dataset
from jetseg.engine.contract import BuildReport, BuildRequest
from jetseg.engine.tensorrt.calibrator import frames_on_device, has_calibrators, make_calibrator
from jetseg.engine.tensorrt.gpu import Gpu, load_pycuda, probe_driver, release
from jetseg.engine.tensorrt.layers import layer_precisions
from jetseg.engine.tensorrt.library import load_tensorrt
from jetseg.engine.tensorrt.plan import build_plan
from jetseg.engine.tensorrt.source import Source, float_source, strongly_typed_source
from jetseg.engine.tensorrt.timing import save_timing_cache, timing_cache_path, use_timing_cache_
from jetseg.errors import CalibrationError, ConfigError, DeviceError
from jetseg.evaluate.accuracy import spread
from jetseg.manifest import InputSpec, Precision
from jetseg.ports import input_shape
from jetseg.preprocess import NetworkInput, Preprocessor
from jetseg.progress import console
from jetseg.storage import write_bytes

ENGINE_SUFFIX = ".engine"
ARITHMETIC: Target = "tensorrt"
MEGABYTE = 1 << 20
LEAST_FREE_MB = 256
"""With less free memory no build is begun."""


class Options(BaseModel):
    """Settings of this backend.

    Attributes:
        quantization: "explicit" builds int8 from a network with quantizers, strongly typed, on every version.
            "implicit" lets TensorRT 10 and older place the quantizers, with float16 beside them.
        rest: What an explicitly quantized network computes in beside int8. "fp16" moves half the bytes; "fp32" is what
            exact simulation predicts.
        calibration_data: Dataset spec; implicit quantization then calibrates on its frames with TensorRT's own entropy
            method, in place of the ranges file.
        calibration_split: Split of it.
        calibration_images: How many frames of it.
        calibration_cache: File to write the scales to that TensorRT found on these frames.
        workspace_mb: Device memory that the builder may try layers with; half of what is free by default.
        optimization_level: 0 (fast build) to 5 (fast engine).
        sparse: Let TensorRT use sparse tensor cores for layers whose weights are 2:4 sparse.
        timing_cache: File that timings are kept in; by default one per GPU and version in the user's cache folder.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    quantization: Literal["explicit", "implicit"] = "explicit"
    rest: Literal["fp32", "fp16"] = "fp32"
    calibration_data: str | None = None
    calibration_split: str = "train"
    calibration_images: int = Field(default=128, gt=0)
    calibration_cache: Path | None = None
    workspace_mb: int | None = Field(default=None, gt=0)
    optimization_level: int = Field(default=3, ge=0, le=5)
    sparse: bool = False
    timing_cache: Path | None = None

    @model_validator(mode="after")
    def _data_for_implicit_only(self) -> Options:
        if self.quantization == "explicit" and (self.calibration_data or self.calibration_cache):
            raise ValueError("calibration_data and calibration_cache are for quantization=implicit")
        if self.calibration_cache and not self.calibration_data:
            raise ValueError("calibration_cache is written from calibration_data; give that too")
        return self


def check(precision: Precision, options: Options) -> None:
    """Refuses what cannot be built, before any long work.

    Raises:
        MissingDependencyError: TensorRT or pycuda is not installed.
        DeviceError: There is no GPU.
        ConfigError: This TensorRT has no calibrators, or options contradict each other.
    """
    trt = load_tensorrt()
    probe_driver()
    load_pycuda()
    if precision == "int8" and options.quantization == "implicit" and not has_calibrators(trt):
        raise ConfigError(
            f"TensorRT {trt.__version__} has no calibrators: implicit quantization ended with version 10.",
            "Leave out --option quantization=implicit; the ranges file holds the same scales.",
        )
    if options.rest == "fp16" and (precision != "int8" or options.quantization == "implicit"):
        raise ConfigError(
            "--option rest=fp16 is for explicitly quantized int8 networks.",
            "Implicit ones have float16 beside int8 already; for float16 alone, give --precision fp16.",
        )


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
            "Close other programs or give a smaller --option workspace_mb=N, and build again."
            if needed_mb > LEAST_FREE_MB
            else "Close other programs, the desktop first, and build again.",
        )
    return asked_mb * MEGABYTE if asked_mb else free_bytes // 2


def _build_on(gpu: Gpu, trt: ModuleType, request: BuildRequest, opened: ExitStack) -> BuildReport:
    options: Options = request.options
    implicit = request.precision == "int8" and options.quantization == "implicit"
    timings = options.timing_cache or timing_cache_path(gpu.facts, trt.__version__)
    half_rest = options.rest == "fp16"
    source = float_source(request) if implicit else strongly_typed_source(request, half_rest=half_rest)
    calibrator = _calibrator(gpu, trt, request, source, opened) if implicit else None
    kept: list[Any] = []

    def configure(settings: Any) -> None:  # noqa: ANN401
        workspace = workspace_bytes(options.workspace_mb, gpu.free_bytes())
        settings.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace)
        settings.builder_optimization_level = options.optimization_level
        settings.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
        if request.precision == "fp32":  # the reference: no shortened mantissas
            settings.clear_flag(trt.BuilderFlag.TF32)
        if options.sparse:
            settings.set_flag(trt.BuilderFlag.SPARSE_WEIGHTS)
        if calibrator is not None:
            settings.set_flag(trt.BuilderFlag.INT8)
            settings.set_flag(trt.BuilderFlag.FP16)
            settings.int8_calibrator = calibrator
        use_timing_cache_(settings, timings)
        kept.append(settings)

    with gpu.active():
        plan = build_plan(
            trt,
            source.model,
            configure,
            strongly_typed=not implicit,
            callbacks=() if calibrator is None else (calibrator,),
        )
        if options.calibration_cache is not None and calibrator is not None and calibrator.written:
            write_bytes(options.calibration_cache, calibrator.written)
        save_timing_cache(kept[0], timings)
        precisions = layer_precisions(trt, plan)
    request.destination.write_bytes(plan)
    return BuildReport(
        source.integer_layers,
        source.float_layers,
        layer_precisions=precisions,
        device=gpu.facts.label,
        toolchain=_versions(trt, gpu),
    )


def _calibrator(gpu: Gpu, trt: ModuleType, request: BuildRequest, source: Source, opened: ExitStack) -> Any:  # noqa: ANN401
    """Makes the calibrator of an implicit build: fed with frames, or with scales from the ranges file."""
    options: Options = request.options
    if request.keep_float:
        raise ConfigError("Implicit quantization keeps no single layers in float.", "Leave quantization explicit.")
    if options.calibration_data is not None:
        spec = request.manifest.input
        frames = frames_on_device(gpu, _frames(options, spec), _input_bytes(spec))
        return make_calibrator(trt, next_frame=opened.enter_context(frames))
    if request.ranges is None:
        raise CalibrationError("An int8 engine needs ranges.", "Give --calibration FILE or --data SPEC.")
    cache = render_cache({name: entry.amax for name, entry in request.ranges.tensors.items()}, trt.__version__)
    _tell_missing(missing_names(parse_cache(cache), [name for node in source.model.graph.node for name in node.output]))
    return make_calibrator(trt, cache=cache.encode())


def _tell_missing(names: tuple[str, ...]) -> None:
    if names:
        console.print(
            f"No range for {len(names)} tensors ({', '.join(names[:3])}...): where TensorRT does not fuse them away, "
            "what reads them stays in float.",
            style="dim",
            markup=False,
        )


def _frames(options: Options, spec: InputSpec) -> Iterator[NetworkInput]:
    dataset = open_dataset(str(options.calibration_data), options.calibration_split)
    preprocess = Preprocessor(spec)
    for index in spread(len(dataset), options.calibration_images):
        yield preprocess(dataset[index].image_hwc_u8)


def _input_bytes(spec: InputSpec) -> int:
    return math.prod(input_shape(spec)) * (1 if spec.kind == "frame" else 4)


def _versions(trt: ModuleType, gpu: Gpu) -> dict[str, str]:
    versions = {"tensorrt": str(trt.__version__), "cuda": gpu.facts.cuda}
    jetson = release()
    return versions | ({"l4t": jetson} if jetson else {})
