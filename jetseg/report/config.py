"""Settings of a report."""

from __future__ import annotations

from pydantic import Field

from jetseg.config import Settings


class ReportConfig(Settings):
    """What a report measures."""

    title: str = Field("What compression cost and gained", description="Headline of the page.")
    frames: int | None = Field(
        None, gt=0, description="Score only this many frames, spread evenly over the split; all by default."
    )
    examples: int = Field(3, ge=0, description="Frames to show.")
    threads: int | None = Field(1, gt=0, description="Threads that each network may use.")
    rounds: int = Field(5, gt=0, description="How often each network has its turn.")
    seconds: float = Field(0.5, ge=0.01, description="Length of one turn, in seconds.")
