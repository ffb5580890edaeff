"""What the build stage is told, and what it tells."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from jetseg.engine.budget import DEFAULT_MAX_CLASS_DROP, DEFAULT_MAX_DROP, DEFAULT_MIN_AGREEMENT
from jetseg.engine.contract import BuildReport
from jetseg.engine.opening import DEFAULT_BACKEND
from jetseg.errors import GateError
from jetseg.evaluate.agreement import Agreement
from jetseg.manifest import Accuracy, EnginePrecision, Manifest
from jetseg.quantization.calibration import DEFAULT_IMAGES, DEFAULT_METHOD, DEFAULT_PRESET, Preset
from jetseg.quantization.observe.range_estimators import Method
from jetseg.quantization.sensitivity import LayerEffect


class BuildConfig(BaseModel):
    """Settings of `run`.

    Attributes:
        model: Float ONNX file.
        precision: Precision of the engine.
        backend: Runtime that the engine is for; see `jetseg.engine.opening.backend_names`.
        out: Engine file; by default in engines/, named after the model and the precision.
        calibration: Ranges file; without it, int8 calibrates on `data` and keeps the ranges beside the engine.
        data: Dataset spec for calibration and for measuring accuracy.
        split: Split to calibrate on.
        images: How many images to calibrate on.
        method: Calibration method.
        preset: Calibration preset; see `jetseg.quantization.calibration.CalibrateConfig`.
        eval_split: Split to measure accuracy on, before and after.
        eval_frames: Measure on this many frames only.
        max_drop: Points of mIoU that the engine may lose; it is measured with labelled data.
        max_class_drop: Points of IoU that each class may lose.
        class_budget: Points of IoU that single classes may lose, in place of `max_class_drop`.
        min_agreement: Least percent of pixels that keep the float network's class, where the data have no labels.
        keep_float: Layers, by output tensor, that stay in float.
        sensitivity: Look for the most harmful layers even if the engine passes.
        auto: If the engine fails the gate, try other calibrations and then keep the worst layers in float.
        manifest: Manifest elsewhere than beside the model.
        threads: Threads of a CPU backend while measuring.
        options: The backend's own settings; see `Options` in its `build`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Path
    precision: EnginePrecision = "int8"
    backend: str = DEFAULT_BACKEND
    out: Path | None = None
    calibration: Path | None = None
    data: str | None = None
    split: str = "train"
    images: int = Field(default=DEFAULT_IMAGES, gt=0)
    method: Method = DEFAULT_METHOD
    eval_split: str = "val"
    eval_frames: int | None = Field(default=None, gt=0)
    max_drop: float = Field(default=DEFAULT_MAX_DROP, ge=0)
    max_class_drop: float = Field(default=DEFAULT_MAX_CLASS_DROP, ge=0)
    class_budget: dict[str, float] = Field(default_factory=dict)
    min_agreement: float = Field(default=DEFAULT_MIN_AGREEMENT, ge=0, le=100)
    keep_float: tuple[str, ...] = ()
    sensitivity: bool = False
    auto: bool = False
    preset: Preset = DEFAULT_PRESET
    manifest: Path | None = None
    threads: int | None = Field(default=None, gt=0)
    options: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True)
class BuildResult:
    """What `run` made.

    Attributes:
        engine: The engine file.
        manifest: Its manifest.
        report: Which layers run in which precision.
        parent_accuracy: Accuracy of the float network; None without labelled data.
        accuracy: Accuracy of the engine on the same frames.
        broken: What it lost beyond the budget.
        guilty: Its quantized layers, the most harmful first, if it lost too much or they were asked for.
        attempts: What was tried, and what came of it.
        agreement: What it shares with the float network, measured in place of accuracy where there are no labels.
    """

    engine: Path
    manifest: Manifest
    report: BuildReport
    parent_accuracy: Accuracy | None
    accuracy: Accuracy | None
    broken: tuple[str, ...] = ()
    guilty: tuple[LayerEffect, ...] = ()
    attempts: tuple[str, ...] = ()
    agreement: Agreement | None = None

    @property
    def loss(self) -> float:
        """Points of mIoU lost, or percent of the pixels; infinite if nothing was measured."""
        if self.agreement is not None:
            return 100.0 - self.agreement.percent
        if self.parent_accuracy is None or self.accuracy is None:
            return float("inf")
        return (self.parent_accuracy.miou or 0.0) - (self.accuracy.miou or 0.0)


class EngineRejectedError(GateError):
    """An engine lost more accuracy than allowed."""

    def __init__(self, result: BuildResult) -> None:
        self.result = result
        layers = ", ".join(f"{effect.layer} ({effect.agreement:.2f} %)" for effect in result.guilty[:3])
        blame = f" Most harmful layers, by pixels that keep their class: {layers}." if layers else ""
        super().__init__(
            f"The engine is rejected: {'; '.join(result.broken)}.{blame} It is kept as {result.engine}.",
            "Calibrate on more images, with another --method or --preset best; keep the named layers in float with "
            "--keep-float; let --auto try all this; or train with quantization (`jetseg quantize`).",
        )
