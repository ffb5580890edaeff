"""Settings of an explanation."""

from __future__ import annotations

from pydantic import Field

from jetseg.config import Settings


class ExplainConfig(Settings):
    """What is compared, and how sure a claim must be."""

    title: str = Field("What the smaller network lost", description="Headline of the page.")
    frames: int | None = Field(
        None, gt=0, description="Compare on this many frames only, spread evenly over the split; all by default."
    )
    examples: int = Field(6, ge=0, description="Frames to show, those first that compression hurts most.")
    task: str | None = Field(None, description="Of a network of several tasks, the one to look at; it needs classes.")
    at: str | None = Field(
        None,
        description="Pixel of a frame (FRAME:X,Y) at whose object parent and child are looked at: which places speak "
        "for its class in each; by default the class and the frame that lost most.",
    )
    confidence: float = Field(
        0.95,
        gt=0.5,
        lt=1,
        description="Probability that none of all claims about two equally good networks is wrong, and that an "
        "interval holds the true loss.",
    )
    block: int = Field(
        1, gt=0, description="Neighboring frames that count as one, as many as show the same thing in a video."
    )
    causes: bool = Field(True, description="Look for the layers and channels that are to blame.")
    cause_frames: int = Field(16, gt=0, description="Frames to look for causes on, those that lost most.")
    repair: bool = Field(
        False,
        description="Try the repairs that are proposed for quantized networks and pruned checkpoints, and measure what "
        "they bring back.",
    )
    repair_epochs: int = Field(
        0,
        ge=0,
        description="With `repair`: fine-tune the repairs of a checkpoint that was trained after pruning for so many "
        "epochs, with the settings of that training; 0 proposes them only.",
    )
    seed: int = Field(0, ge=0, description="Fixes what is drawn at random.")
    threads: int | None = Field(1, gt=0, description="Threads that each network may use.")
