"""Settings of what is measured on networks."""

from __future__ import annotations

from pydantic import Field

from jetseg.config import Settings


class EvaluateConfig(Settings):
    """On which frames a network is scored."""

    split: str = Field("val", description="Split of the dataset, as in train, val or test.")
    frames: int | None = Field(
        None, gt=0, description="Score only this many frames, spread evenly over the split; all by default."
    )
    threads: int | None = Field(None, gt=0, description="Threads of a CPU backend.")


class PredictConfig(Settings):
    """Which frames are predicted, and what is written beside their class maps."""

    split: str = Field("all", description="Split of a dataset; all of a folder, a video or volumes.")
    overlay: bool = Field(
        False, description="Also draw each frame with its classes over it, as NAME.jpg; of volumes, their outlines."
    )
    threads: int | None = Field(None, gt=0, description="Threads of a CPU backend.")


class Bounds(Settings):
    """What each artifact of a network may lose."""

    min_agreement: float = Field(
        99.0, ge=0, le=100, description="Least percent of pixels with the same class as in the artifact before."
    )
    max_drop: float = Field(0.5, ge=0, description="Most points of mIoU that may be lost against the first artifact.")


class ParityConfig(Bounds):
    """On which frames the artifacts of a network are compared, and what each may lose."""

    split: str = Field("val", description="Split of the dataset, as in train, val or test.")
    frames: int | None = Field(
        None, gt=0, description="Compare only this many frames, spread evenly over the split; all by default."
    )
    threads: int | None = Field(None, gt=0, description="Threads that each network may use.")


class BenchConfig(Settings):
    """How networks are timed."""

    threads: int | None = Field(1, gt=0, description="Threads that each network may use.")
    rounds: int = Field(5, gt=0, description="How often each network has its turn.")
    seconds: float = Field(1.0, ge=0.01, description="Length of one turn, in seconds.")
