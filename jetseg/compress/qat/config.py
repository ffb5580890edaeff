"""Settings of quantization-aware training."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from jetseg.compress.qat.artifacts import float_twin_path
from jetseg.compress.qat.quantizers import Ranges
from jetseg.manifest import InputSpec
from jetseg.train.config import DistillConfig, TrainConfig


class QuantizeConfig(BaseModel):
    """Everything that a run depends on.

    Attributes:
        qdq: ONNX file with symmetric int8 QuantizeLinear and DequantizeLinear pairs; its manifest is beside it.
        out: Q/DQ file to write; `.float.onnx` and `.scales.json` take its name, and a folder `.run` its state.
        data: Dataset spec.
        split: Split to learn from.
        val_split: Split to choose the best epoch by.
        frames: Learn from (and validate on) only this many frames, spread evenly; all by default.
        labels: False learns from the teacher alone, so the frames need no labels.
        label_weight: Weight of the loss against labels beside a teacher; without a teacher it is 1.
        parent: The float ONNX file that `qdq` was made from; it teaches unless another teacher is given.
        teacher: Checkpoint or ONNX file to imitate instead of the parent.
        teacher_manifest: The teacher's manifest if it is not beside it.
        distill: How to imitate it.
        ranges: "learned" trains the scales of activations, "fixed" keeps the calibrated ones.
        epochs: Passes over the training frames.
        batch_size: Crops per step.
        lr: Highest learning rate of weights; falls to 0 as (1 - progress)^power.
        scale_lr: The same for the logarithms of the scales.
        warmup_fraction: Part of the run in which the learning rates rise linearly from 0.
        power: Exponent of the decay.
        crop_height: Height of the training crops; by default the network's. Others need a fully convolutional graph.
        crop_width: Width of the training crops; by default the network's.
        class_weights: "none", "enet" or "median", as in training.
        ema_decay: Decay of the running mean of the weights, which is validated and kept; 0 turns it off.
        seed: Fixes order and augmentation.
        workers: Loader processes.
        cache_mb: Keep decoded frames in memory if they need no more than this.
        accelerator: Lightning Fabric's accelerator.
        resume: Go on with an unfinished run; if False, start over.
        augment: Random changes of the frames: settings of `jetseg.data.augment.AugmentConfig` but `crop`. Zoom is
            1 to 1.5 if nothing else is said: smaller frames would be padded, and what the teacher says about
            padding is noise.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    qdq: Path
    out: Path
    data: str
    split: str = "train"
    val_split: str = "val"
    frames: int | None = Field(default=None, gt=0)
    labels: bool = True
    label_weight: float = Field(default=0.1, ge=0)
    parent: Path | None = None
    teacher: Path | None = None
    teacher_manifest: Path | None = None
    distill: DistillConfig = DistillConfig()
    ranges: Ranges = "learned"
    epochs: int = Field(default=10, gt=0)
    batch_size: int = Field(default=4, gt=0)
    lr: float = Field(default=1e-4, gt=0)
    scale_lr: float = Field(default=1e-3, gt=0)
    warmup_fraction: float = Field(default=0.05, ge=0, lt=1)
    power: float = Field(default=0.9, ge=0)
    crop_height: int | None = Field(default=None, gt=0)
    crop_width: int | None = Field(default=None, gt=0)
    class_weights: Literal["none", "enet", "median"] = "none"
    ema_decay: float = Field(default=0.999, ge=0, lt=1)
    seed: int = Field(default=0, ge=0)
    workers: int = Field(default=0, ge=0)
    cache_mb: int = Field(default=1000, ge=0)
    accelerator: str = "auto"
    resume: bool = True
    augment: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> QuantizeConfig:
        if self.out.suffix != ".onnx":
            raise ValueError("out must end in .onnx")
        written = {path.resolve() for path in (self.out, float_twin_path(self.out))}
        read = {path.resolve() for path in (self.qdq, self.parent, self.teacher) if path is not None}
        if written & read:
            raise ValueError("out, and its float twin OUT.float.onnx, must be other files than qdq, parent and teacher")
        if self.distill.compares_features:
            raise ValueError("distill: features cannot be compared here; set relation_weight and mimic_weight to 0")
        if not self.labels and self.taught_by is None:
            raise ValueError("without labels there must be a teacher: give parent or teacher")
        return self

    @property
    def taught_by(self) -> Path | None:
        """The network to imitate; None learns from labels alone."""
        return self.teacher or self.parent

    @property
    def folder(self) -> Path:
        """Where the run keeps its state."""
        return self.out.with_suffix(".run")

    def as_training(self, spec: InputSpec) -> TrainConfig:
        """Returns the settings that this run has in common with training.

        Args:
            spec: The network's input; crops have its size if nothing else is said.
        """
        shared = {name: getattr(self, name) for name in _SHARED}
        shared["augment"] = {"scale": (1.0, 1.5), **self.augment}
        return TrainConfig(
            **shared,
            out=self.folder,
            batch_size=max(self.batch_size, 2),
            crop_height=self.crop_height or spec.height,
            crop_width=self.crop_width or spec.width,
            teacher=self.taught_by,
        )

    def identity(self) -> dict[str, Any]:
        """Returns the settings that decide the result, as JSON values; a resumed run must have the same."""
        return self.model_dump(mode="json", exclude={"out", "resume", "workers", "accelerator", "cache_mb"})


_SHARED = (
    *("data", "split", "val_split", "frames", "epochs", "lr", "warmup_fraction", "power", "class_weights"),
    *("ema_decay", "seed", "workers", "cache_mb", "accelerator", "teacher_manifest", "distill", "resume"),
)
