"""Settings of quantization-aware training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from jetseg.config import Cli, Settings
from jetseg.input_spec import InputSpec
from jetseg.training.config import FREE_ON_RESUME, DistillConfig, LoggerName, TrainConfig
from jetseg.training.renamed import RENAMED as RENAMED_IN_TRAINING
from jetseg.training.renamed import accept_old_names

RENAMED = {**RENAMED_IN_TRAINING, "ranges": "scales"}
"""Old names of settings, which are read until the next release but one."""


class QatConfig(Settings):
    """Settings of quantization-aware training."""

    split: str = Field("train", description="Split to learn from.")
    eval_split: str = Field("val", description="Split to choose the best epoch by.")
    frames: int | None = Field(
        None, gt=0, description="Learn from (and validate on) only this many frames, spread evenly; all by default."
    )
    labels: bool = Field(
        True, description="Learn from labels too, not from the teacher alone; without, the frames need none."
    )
    label_weight: float = Field(
        0.1, ge=0, description="Weight of the loss against labels beside a teacher; without a teacher it is 1."
    )
    teacher: Annotated[Path | None, Cli(metavar="FILE")] = Field(
        None, description="Checkpoint or ONNX file to imitate instead of the float network."
    )
    teacher_manifest: Annotated[Path | None, Cli(metavar="FILE")] = Field(
        None, description="The teacher's manifest if it is not beside it."
    )
    distill: DistillConfig = Field(DistillConfig(), description="How to imitate the teacher.")
    scales: Literal["learned", "fixed"] = Field(
        "learned", description="learned trains the scales of activations, fixed keeps the calibrated ones."
    )
    epochs: int = Field(10, gt=0, description="Passes over the training frames.")
    batch_size: int = Field(4, gt=0, description="Crops per step.")
    lr: float = Field(
        0.0003,
        gt=0,
        description="Highest learning rate of weights, as a share of the root mean square of their channel; falls to 0 "
        "as (1 - progress)^power.",
    )
    scale_lr: float = Field(
        0.01, gt=0, description="The same for the logarithms of the scales: 0.01 moves a range by a hundredth a step."
    )
    warmup_fraction: float = Field(
        0.05, ge=0, lt=1, description="Part of the run in which the learning rates rise linearly from 0."
    )
    power: float = Field(0.9, ge=0, description="Exponent of the decay.")
    crop_height: int | None = Field(
        None,
        gt=0,
        description="Height of the training crops; by default the network's. Others need a fully convolutional graph.",
    )
    crop_width: int | None = Field(None, gt=0, description="Width of the training crops; by default the network's.")
    class_weights: Literal["none", "enet", "median"] = Field(
        "none", description="Weights of the classes in the loss against labels: none, enet or median, as in training."
    )
    ema_decay: float = Field(
        0.999,
        ge=0,
        lt=1,
        description="Decay of the running mean of the weights, which is validated and kept; 0 turns it off.",
    )
    seed: int = Field(0, ge=0, description="Fixes order and augmentation.")
    workers: int = Field(0, ge=0, description="Loader processes.")
    cache_mb: int = Field(1000, ge=0, description="Keep decoded frames in memory if they need no more than this.")
    accelerator: str = Field("auto", description="Lightning Fabric's accelerator.")
    logger: LoggerName = Field(
        "csv", description="Where figures go: metrics.csv in any case; tensorboard and mlflow get them, too."
    )
    resume: bool = Field(True, description="Go on with an unfinished run; if False, start over.")
    augment: Annotated[dict[str, Any], Cli(hidden=True)] = Field(
        default_factory=dict,
        description=(
            "Random changes of the frames: settings of `jetseg.data.augment.AugmentConfig` but `crop`. Zoom is 1 "
            "to 1.5 if nothing else is said: smaller frames would be padded, and what the teacher says about "
            "padding is noise."
        ),
    )

    @model_validator(mode="before")
    @classmethod
    def _renamed(cls, values: Any) -> Any:  # noqa: ANN401 - whatever is validated
        return accept_old_names(values, RENAMED)

    @model_validator(mode="after")
    def _consistent(self) -> QatConfig:
        if self.distill.compares_features:
            raise ValueError("distill: features cannot be compared here; set relation_weight and mimic_weight to 0")
        if self.teacher is None and self.teacher_manifest is not None:
            raise ValueError("teacher_manifest needs a teacher")
        return self

    def as_training(self, spec: InputSpec, data: str, folder: Path) -> TrainConfig:
        """Returns the settings that this run has in common with training.

        Args:
            spec: The network's input; crops have its size if nothing else is said.
            data: Dataset spec.
            folder: Where the run keeps its state.
        """
        shared = {name: getattr(self, name) for name in _SHARED}
        shared["augment"] = {"scale": (1.0, 1.5), **self.augment}
        return TrainConfig(
            **shared,
            data=data,
            out=folder,
            batch_size=max(self.batch_size, 2),
            crop_height=self.crop_height or spec.height,
            crop_width=self.crop_width or spec.width,
        )

    def identity(self) -> dict[str, Any]:
        """Returns the settings that decide the result, as JSON values; a resumed run must have the same."""
        return self.model_dump(mode="json", exclude=set(FREE_ON_RESUME))


_SHARED = (
    *("split", "eval_split", "frames", "epochs", "lr", "warmup_fraction", "power", "class_weights"),
    *("ema_decay", "seed", "workers", "cache_mb", "accelerator", "logger", "resume"),
)
