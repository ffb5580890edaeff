"""Settings of a build."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from jetseg.config import Cli, Settings
from jetseg.manifest import EnginePrecision
from jetseg.quantization.arithmetic import Arithmetic
from jetseg.quantization.config import CalibrateConfig, CalibrationImages, SchemeName
from jetseg.quantization.qdq.schemes import SCHEMES

AUTO = "auto"
"""As a precision or a backend: build all there are, keep the fastest that passes."""


class Budget(Settings):
    """What an engine may lose against the float network on the same frames."""

    max_drop: float = Field(0.5, ge=0, description="Points of mIoU that the engine may lose.")
    task_drops: Annotated[dict[str, str], Cli(joins="max_drop")] = Field(
        default_factory=dict,
        description='What a task may lose in one metric, in points or as a share, as in {"depth_rmse": "2%"}.',
    )
    max_class_drop: float = Field(1.0, ge=0, description="Points of IoU that each class may lose.")
    class_budget: Annotated[dict[str, float], Cli(metavar="CLASS=POINTS")] = Field(
        default_factory=dict, description="Points of IoU that a class may lose, in place of `max_class_drop`."
    )
    min_agreement: float = Field(
        97.0,
        ge=0,
        le=100,
        description="Least percent of pixels that keep the float network's class, with labels and without.",
    )
    """ESPNet, simulated in INT8, kept 97.4 to 98.8 % at dusk and 99.2 to 99.6 % by day, and lost at most 0.21 points of
    mIoU. Another network kept mIoU to 0.02 points with 92 % of the pixels: mistakes may cancel in the mean."""


class NumberFormat(Settings):
    """What an engine's quantizers compute; its precision follows from it."""

    scheme: SchemeName | None = Field(
        None,
        description="Type of the quantized activations, and of weights with fewer bits; by default the backend's own.",
    )

    @model_validator(mode="before")
    @classmethod
    def _take_precision_of_scheme(cls, values: Any) -> Any:  # noqa: ANN401 - whatever was given
        if not isinstance(values, dict) or values.get("scheme") not in SCHEMES:
            return values
        scheme = SCHEMES[values["scheme"]]
        asked = values.get("precision") or scheme.precision
        if asked != scheme.precision:
            raise ValueError(f"scheme {values['scheme']} is of precision {scheme.precision}, and this is {asked}")
        return {**values, "precision": asked}


class BuildConfig(CalibrationImages, NumberFormat, Budget):
    """Settings of a build."""

    precision: EnginePrecision | Literal["auto"] = Field(
        "int8", description="Precision of the engine; auto builds all and keeps the fastest one that passes."
    )
    backend: Annotated[str, Cli(metavar="NAME", registry="backends")] = Field(
        "onnxruntime",
        description="Runtime that the engine is for; auto builds for all that run here and keeps the fastest one that "
        "passes.",
    )
    eval_split: str = Field("val", description="Split to measure accuracy on, before and after.")
    eval_frames: int | None = Field(None, gt=0, description="Measure on this many frames only, spread evenly.")
    keep_float: Annotated[tuple[str, ...], Cli(metavar="LAYER")] = Field(
        (), description="Layer, by its output tensor, to keep in float."
    )
    sensitivity: Annotated[bool, Cli(hidden=True)] = Field(
        False, description="Look for the most harmful layers even if the engine passes."
    )
    estimate: bool = Field(
        True,
        description="Learn to estimate accuracy without labels, from 60 frames or more: some 1,700 runs of the engine.",
    )
    auto: bool = Field(False, description="If the engine fails, calibrate anew, then keep the worst layers in float.")
    max_float_share: float = Field(
        100.0,
        ge=0,
        le=100,
        description="Percent of the multiply-accumulates that may go to float for speed or accuracy, with those that "
        "always are.",
    )
    force: bool = Field(False, description="Hand over the int8 engine even if a float engine is as fast.")
    options: Annotated[dict[str, str], Cli(flag="--option", metavar="KEY=VALUE")] = Field(
        default_factory=dict, description="Setting of the backend."
    )

    def calibration(self, arithmetic: Arithmetic | None) -> CalibrateConfig:
        """Returns the settings to calibrate with, for one backend's arithmetic."""
        own: dict[str, object] = {name: getattr(self, name) for name in (*CalibrationImages.model_fields, "keep_float")}
        if arithmetic is not None:
            own["targets"] = (arithmetic.corrected_for,)
            own |= {} if arithmetic.corrects else {"corrections": ()}
        return CalibrateConfig.model_validate(own)
