"""Builds TensorRT-RTX engines; no GPU is needed for it."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any, NoReturn

from pydantic import Field

from jetseg.config import Settings
from jetseg.engine.backend import Backend, BuildReport, BuildRequest
from jetseg.engine.gpu_precisions import lacks
from jetseg.engine.tensorrt.plan import build_plan
from jetseg.engine.tensorrt.source import strongly_typed_source
from jetseg.errors import ConfigError, DeviceError, MissingDependencyError
from jetseg.manifest import Precision
from jetseg.network import Network


class TensorRTRTXOptions(Settings):
    """Settings of this backend."""

    target: str = Field("sm86", description='GPU architecture to build for, as in "sm86".')


class TensorRTRTX(Backend):
    """TensorRT-RTX for desktop GPUs; see `jetseg.engine.backend.Backend`. Its engines are built, and not run."""

    suffix = ".rtx"
    arithmetic = "tensorrt"
    schemes = ("int8", "fp8")
    options = TensorRTRTXOptions

    def check(self, precision: Precision, options: Any) -> None:  # noqa: ANN401 - an instance of `TensorRTRTXOptions`
        """Refuses what cannot be built, before any long work.

        Raises:
            MissingDependencyError: TensorRT-RTX is not installed.
            ConfigError: It does not build for the target, or not in this precision.
        """
        _compute_capability(_load(), options.target)
        if precision == "int16":
            raise ConfigError("TensorRT-RTX has no 16-bit integers.", "Choose `precision` int8, fp8, bf16 or fp16.")
        number = options.target.lower().removeprefix("sm")
        if (why := lacks(f"{number[:-1]}.{number[-1]}", precision)) is not None:
            raise ConfigError(f"{options.target} cannot run it: {why}.", "Give another `target`, or `precision` int8.")

    def build(self, request: BuildRequest) -> BuildReport:
        """Builds an engine.

        Raises:
            ArtifactError: TensorRT-RTX refuses the network; each reason is a line.
            CalibrationError: The ranges do not cover the network.
            ConfigError: A layer that shall stay in float does not exist.
        """
        trt = _load()
        target: str = request.options.target
        source = strongly_typed_source(request)

        def configure(settings: Any) -> None:  # noqa: ANN401
            settings.num_compute_capabilities = 1
            settings.set_compute_capability(_compute_capability(trt, target), 0)
            if request.precision == "fp32":  # the reference: no shortened mantissas
                settings.clear_flag(trt.BuilderFlag.TF32)

        request.destination.write_bytes(build_plan(trt, source.model, configure))
        return BuildReport(
            source.integer_layers,
            source.float_layers,
            source.macs,
            not_run_here="jetseg builds TensorRT-RTX engines and does not run them.",
            device=f"NVIDIA GPU, {target}",
            toolchain={"tensorrt-rtx": str(trt.__version__)},
        )

    def open(self, network: Network, threads: int | None = None) -> NoReturn:
        """Refuses to open an engine.

        Raises:
            DeviceError: Always.
        """
        del threads
        raise DeviceError(
            f"{network.path} is a TensorRT-RTX engine ({network.manifest.device or 'target unknown'}), and jetseg does "
            "not run these.",
            "Run it with TensorRT-RTX's own runtime on such a GPU; for its accuracy, "
            "`jetseg eval MODEL.onnx --simulate tensorrt --calibration RANGES` computes the same integers here.",
        )


def _load() -> ModuleType:
    try:
        return importlib.import_module("tensorrt_rtx")
    except (ImportError, OSError) as error:
        raise MissingDependencyError("tensorrt_rtx", "rtx", "builds engines for desktop GPUs") from error


def _compute_capability(trt: ModuleType, target: str) -> Any:  # noqa: ANN401
    known = {name.lower(): value for name, value in vars(trt.ComputeCapability).items() if name.startswith("SM")}
    if target.lower() not in known:
        raise ConfigError(
            f"{target!r} is an unknown target for TensorRT-RTX {trt.__version__}.",
            f"Choose from: {', '.join(sorted(known, key=lambda name: int(name[2:])))}.",
        )
    return known[target.lower()]
