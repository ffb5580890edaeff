"""Settings of a search."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from jetseg.compress.config import SpeedSettings
from jetseg.config import Cli

LAST_RUNG = 2
"""A trial is probed, trained for a short while, and trained for long."""
MOST_EPOCHS = 10_000


class SearchConfig(SpeedSettings):
    """Settings of a search."""

    precision: Literal["fp32", "fp16", "int8"] = Field("int8", description="Precision of the engines.")
    budget_ms: float | None = Field(None, gt=0, description="Most milliseconds that the engine may take.")
    budget_ratio: float | None = Field(
        None, gt=0, lt=1, description="The same, as a fraction of what the given network takes in this precision."
    )
    max_drop: float | None = Field(
        None, ge=0, description="Most points of mIoU that the engine may lose against the given network."
    )
    trials: int = Field(24, ge=1, le=10_000, description="How many chains are tried.")
    minutes: float | None = Field(
        None, gt=0, description="Time for the trials, interruptions not counted; trainings are made to fit."
    )
    reduction: int = Field(3, ge=2, description="One in so many trials is trained for longer: successive halving.")
    probe_epochs: int = Field(1, ge=1, description="Epochs of fine-tuning that each trial gets.")
    short_epochs: int = Field(6, ge=1, description="Epochs that the leading ones get after that; fitted to `minutes`.")
    epochs: int = Field(30, ge=1, description="Epochs that those which still lead get; fitted to `minutes`.")
    teacher: Annotated[Path | None, Cli(metavar="FILE")] = Field(
        None, description="Network to imitate where a trial distills; by default the given network."
    )
    images: int = Field(64, gt=0, description="Images to calibrate on.")
    engine_drop: float = Field(0.5, ge=0, description="Points of mIoU that an engine may lose by its precision.")
    engine_class_drop: float = Field(2.0, ge=0, description="Points of IoU that each class may lose by it.")
    fix: Annotated[dict[str, str], Cli(metavar="NAME=VALUE")] = Field(
        default_factory=dict, description="A choice that is not searched, as in criterion=taylor."
    )
    training: Annotated[dict[str, Any], Cli(hidden=True)] = Field(
        default_factory=dict,
        description="Further settings of fine-tuning: fields of `jetseg.training.config.TrainConfig`.",
    )
    seed: int = Field(0, ge=0, description="Fixes the random choices.")

    @model_validator(mode="after")
    def _consistent(self) -> SearchConfig:
        if self.budget_ms is not None and self.budget_ratio is not None:
            raise ValueError("give budget_ms or budget_ratio, not both")
        own = sorted(_OWN_IN_TRAINING & self.training.keys())
        if own:
            raise ValueError(f"training: {', '.join(own)} is the search's own business; leave it out")
        return self

    @property
    def has_budget(self) -> bool:
        """Whether there is a latency to stay under."""
        return self.budget_ms is not None or self.budget_ratio is not None

    def rung_epochs(self, rung: int) -> int:
        """Returns the epochs of a rung where no time is set."""
        return (self.probe_epochs, self.short_epochs, self.epochs)[rung]

    def identity(self) -> dict[str, Any]:
        """Returns what must be the same when a search goes on, as JSON values."""
        return self.model_dump(mode="json", exclude=set(FREE_ON_RESUME))


FREE_ON_RESUME = frozenset({"trials", "minutes", "teacher"})
"""A search can be given more trials or more time, and a teacher is compared by its content."""
_OWN_IN_TRAINING = frozenset(
    {"data", "out", "init", "epochs", "lr", "batch_size", "teacher", "teacher_manifest", "distill", "validate_every"}
)
