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


class BaselineConfig(Settings):
    """How what is normal is measured."""

    split: str = Field("train", description="Split to measure on.")
    frames: int = Field(128, ge=8, description="How many frames to measure, spread evenly in pairs.")
    threads: int | None = Field(None, gt=0, description="Threads of a CPU backend.")
