"""Settings of the TensorRT backend, and which of them a TensorRT version can follow."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from jetseg.config import Settings, explain
from jetseg.engine.tensorrt.calibrator import has_calibrators
from jetseg.errors import ArtifactError, ConfigError
from jetseg.manifest import QUANTIZED, Manifest, Precision

_SIZE = re.compile(r"(\d+)x(\d+)")


def _size(value: object) -> object:
    """Reads "HEIGHTxWIDTH"."""
    found = _SIZE.fullmatch(value) if isinstance(value, str) else None
    return (int(found[1]), int(found[2])) if found else value


Size = Annotated[tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]], BeforeValidator(_size)]
"""Height and width, written as in 360x480."""


class TensorRTOptions(Settings):
    """Settings of this backend.

    Attributes:
        quantization: "explicit" builds int8 from a network with quantizers, strongly typed, on every version.
            "implicit" lets TensorRT 10 and older place the quantizers, with float16 beside them.
        rest: What an explicitly quantized network computes in beside int8 or fp8. "fp16" moves half the bytes; "fp32"
            is what exact simulation predicts.
        calibration_data: Dataset spec; implicit quantization then calibrates on its frames with TensorRT's own entropy
            method, in place of the ranges file.
        calibration_split: Split of it.
        calibration_images: How many frames of it.
        calibration_cache: File to write the scales to that TensorRT found on these frames.
        workspace_mb: Device memory that the builder may try layers with; half of what is free by default.
        optimization_level: 0 (fast build) to 5 (fast engine).
        timing_cache: File that timings are kept in; by default one per GPU and version in the user's cache folder.
        sparse_weights: Lets layers whose weights are zero in two of four neighbors use the sparse tensor cores.
        dla_core: Deep-learning accelerator to run on; what it cannot run goes to the GPU.
        version_compatible: The engine also opens in later TensorRT versions of the same major version.
        hardware: GPUs that the engine opens on: "exact", only this one; "same-capability", those of its compute
            capability; "ampere-plus", every one from 8.0 on.
        max_batch: Largest batch, for a network whose batch is open; jetseg itself runs single frames.
        smallest: Smallest input, height x width, for a network whose size is open; by default the manifest's.
        largest: Largest input, likewise.
        memory: "copied" keeps device buffers beside the host's; "mapped" lets the GPU read and write the host's, which
            on a Jetson are in the same memory.
    """

    quantization: Literal["explicit", "implicit"] = "explicit"
    rest: Literal["fp32", "fp16"] = "fp32"
    calibration_data: str | None = None
    calibration_split: str = "train"
    calibration_images: int = Field(default=128, gt=0)
    calibration_cache: Path | None = None
    workspace_mb: int | None = Field(default=None, gt=0)
    optimization_level: int = Field(default=3, ge=0, le=5)
    timing_cache: Path | None = None
    sparse_weights: bool = False
    dla_core: int | None = Field(default=None, ge=0)
    version_compatible: bool = False
    hardware: Literal["exact", "same-capability", "ampere-plus"] = "exact"
    max_batch: int = Field(default=1, gt=0)
    smallest: Size | None = None
    largest: Size | None = None
    memory: Literal["copied", "mapped"] = "copied"

    @model_validator(mode="after")
    def _data_for_implicit_only(self) -> TensorRTOptions:
        if self.quantization == "explicit" and (self.calibration_data or self.calibration_cache):
            raise ValueError("calibration_data and calibration_cache are for quantization=implicit")
        if self.calibration_cache and not self.calibration_data:
            raise ValueError("calibration_cache is written from calibration_data; give that too")
        return self

    @model_validator(mode="after")
    def _one_shape_where_needed(self) -> TensorRTOptions:
        if self.dla_core is not None and self.dynamic:
            raise ValueError("dla_core needs one fixed shape; leave out max_batch, smallest and largest")
        if self.quantization == "implicit" and self.dynamic:
            raise ValueError("quantization=implicit needs one fixed shape; leave out max_batch, smallest and largest")
        return self

    @property
    def dynamic(self) -> bool:
        """Whether the engine takes inputs of several shapes."""
        return self.max_batch > 1 or self.smallest is not None or self.largest is not None


def recorded_options(path: Path, manifest: Manifest) -> TensorRTOptions:
    """Returns the settings that an engine was built with, from its manifest.

    Raises:
        ArtifactError: This version of jetseg does not know them.
    """
    asked = next((stage.settings for stage in reversed(manifest.stages) if stage.name == "build-engine"), {})
    try:
        return TensorRTOptions.model_validate(asked.get("options", {}))
    except ValidationError as error:
        raise ArtifactError(f"{path} was built with settings that are unknown here:\n{explain(error)}") from error


def check_options(trt: ModuleType, precision: Precision, options: TensorRTOptions) -> None:
    """Refuses settings that this TensorRT lacks or that contradict each other.

    Raises:
        ConfigError: Says which, and what to give instead.
    """
    implicit = options.quantization == "implicit"
    if precision == "int16":
        raise ConfigError("TensorRT has no 16-bit integers.", "Choose `precision` int8, fp8, bf16 or fp16.")
    if precision == "fp8" and implicit:
        raise ConfigError("Implicit quantization is for int8.", "Leave out `options` quantization=implicit.")
    if precision == "int8" and implicit and not has_calibrators(trt):
        raise ConfigError(
            f"TensorRT {trt.__version__} has no calibrators: implicit quantization ended with version 10.",
            "Leave out `options` quantization=implicit; the ranges file holds the same scales.",
        )
    if options.rest == "fp16" and (precision not in QUANTIZED or implicit):
        raise ConfigError(
            "`options` rest=fp16 is for explicitly quantized networks.",
            "Implicit ones have float16 beside int8 already; for float16 alone, give `precision` fp16.",
        )
    if options.hardware == "same-capability" and not hasattr(trt.HardwareCompatibilityLevel, "SAME_COMPUTE_CAPABILITY"):
        raise ConfigError(
            f"TensorRT {trt.__version__} has no engines for all GPUs of a compute capability.",
            "Leave out `options` hardware=same-capability and build on each device.",
        )
    if options.dla_core is not None:
        _check_dla(trt, precision, implicit=implicit)


def _check_dla(trt: ModuleType, precision: Precision, *, implicit: bool) -> None:
    if precision not in ("fp16", "int8"):
        raise ConfigError("The DLA computes in fp16 and int8 only.", "Give `precision` fp16 or int8.")
    if precision == "int8" and not implicit and has_calibrators(trt):
        raise ConfigError(
            f"The DLA of TensorRT {trt.__version__} takes no network with explicit quantizers.",
            "Add `options` quantization=implicit; it reads the scales of the same ranges file.",
        )
