"""Settings of the monitors of accuracy, and of measuring what is normal."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from jetseg.config import Cli, Settings


class MonitorConfig(Settings):
    """What an engine's frames and answers are compared with while it runs."""

    drift: bool = Field(True, description="Compare frames and answers with those at calibration.")
    shadow_every: Annotated[int, Cli(metavar="N")] = Field(
        30, ge=1, description="Of N frames, one is compared with the shadow's reference."
    )
    shadow_bound: Annotated[float | None, Cli(metavar="PERCENT")] = Field(
        None, ge=0, le=100, description="Agreement mIoU below which the shadow raises an alarm; learned at build."
    )
    estimate: bool = Field(True, description="Estimate mIoU without labels, where the engine's manifest knows how.")
    estimate_bound: Annotated[float | None, Cli(metavar="PERCENT")] = Field(
        None,
        ge=0,
        le=100,
        description="mIoU for which an alarm is raised when even the upper end of the estimate is below it; by default "
        "three quarters of that at build.",
    )


class BaselineConfig(Settings):
    """How what is normal is measured."""

    split: str = Field("train", description="Split to measure on.")
    frames: int = Field(128, ge=8, description="How many frames to measure, spread evenly in pairs.")
    estimate: bool = Field(
        True,
        description="Learn to estimate accuracy without labels, from 60 frames or more: some 1,700 runs of the engine.",
    )
    threads: int | None = Field(None, gt=0, description="Threads of a CPU backend.")
