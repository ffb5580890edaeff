"""Settings of advice."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from jetseg.config import Cli, Settings

_CLASS_SHARE = 3.0
"""A single class may lose so many times the points of the mean."""


class AdviseConfig(Settings):
    """What advice is about, and how long it may take."""

    backend: Annotated[str, Cli(metavar="NAME", registry="backends")] = Field(
        "onnxruntime", description="Backend that speeds are measured on."
    )
    threads: int = Field(1, ge=1, description="Threads of a CPU backend.")
    target: str | None = Field(
        None,
        description="Computer that the network is for, as in orin-nano-8gb, if it is not this one: its speeds are "
        "predicted, not measured.",
    )
    latency_tables: Annotated[tuple[Path, ...], Cli(flag="--latency-table", metavar="FILE")] = Field(
        (),
        description="Latency table of the target, one for each precision; where there is none, its published peaks "
        "have to do.",
    )
    budget_ms: float | None = Field(
        None, gt=0, description="Latency to reach; without it, the fastest chain within `max_drop` is recommended."
    )
    max_drop: float = Field(1.0, ge=0, description="Points of mIoU that the chain may lose.")
    teacher: Annotated[Path | None, Cli(metavar="FILE")] = Field(
        None, description="Stronger network (checkpoint or ONNX) of the same classes to learn from."
    )
    teacher_manifest: Annotated[Path | None, Cli(metavar="FILE")] = Field(
        None, description="Manifest of the teacher, if it is not beside it."
    )
    split: str = Field("train", description="Split to score channels, to calibrate and to repair on.")
    eval_split: str = Field("val", description="Split to measure accuracy on.")
    frames: int = Field(32, ge=1, description="Frames that accuracy is measured on, spread evenly.")
    epochs: int = Field(20, ge=1, description="Epochs of the training that the recipe repairs a network by.")
    minutes: float = Field(10.0, gt=0, description="Minutes that all of it may take; what is not tried then is said.")
    seed: int = Field(0, ge=0, description="Fixes every random choice.")

    @model_validator(mode="after")
    def _consistent(self) -> AdviseConfig:
        if self.latency_tables and self.target is None:
            raise ValueError("latency_tables need target, the computer that they are of")
        return self

    @property
    def qat_epochs(self) -> int:
        """Epochs of the training under quantization, which starts from a network that is right already."""
        return max(1, self.epochs // 4)

    @property
    def gate(self) -> dict[str, float]:
        """The budget that the recipe's engine is judged by, as settings of `jetseg.engine.config.BuildConfig`."""
        return {"max_drop": self.max_drop, "max_class_drop": _CLASS_SHARE * self.max_drop}
