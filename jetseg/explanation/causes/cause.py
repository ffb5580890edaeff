"""A cause of a loss, with the experiment that shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CauseKind = Literal["weights", "quantizers", "channels", "features"]
PROVEN = 0.5
"""Share of a loss that a cause must explain by itself to be called the cause of it."""


def explained_share(lost: float, restored: float, alone: float) -> float:
    """Returns the share of a loss that a part of a network explains, 0..1: what both experiments show.

    Args:
        lost: Points that were lost.
        restored: Points that come back if the part alone is as in the parent.
        alone: Points that are lost if the part alone is as in the child.

    >>> explained_share(4.0, 3.0, 2.0), explained_share(4.0, 3.0, -1.0), explained_share(0.0, 1.0, 1.0)
    (0.5, 0.0, 0.0)
    """
    return round(min(1.0, max(0.0, min(restored, alone)) / lost), 4) if lost > 0 else 0.0


@dataclass(frozen=True)
class Cause:
    """Something in the child that differs from the parent, and what that does to one class.

    Attributes:
        kind: "weights": a layer has other weights; "quantizers": it is computed in fewer bits; "channels": channels of
            it are gone; "features": from here on, what it computes is no longer what the parent computes.
        layer: The layer, by its output tensor in an ONNX file, or by its name in a checkpoint.
        title: A name for people.
        share: Part of the loss that it explains: comes back if it alone is as in the parent, and goes if it alone is as
            in the child; 0 if that was not tried.
        restored: Points that come back if it alone is as in the parent; None if that was not tried.
        alone: Points that are lost if it alone is as in the child; likewise.
        agreement: Pixels that keep the parent's class if it alone is as in the child, in percent; likewise.
        channels: Channels that are gone, of those that mattered most.
        most: How many mattered most.
        similarity: How alike the features of parent and child are here, 0..1; None if that was not looked at.
        before_training: The child was trained afterwards, which may have made up for a part of this.
    """

    kind: CauseKind
    layer: str
    title: str
    share: float = 0.0
    restored: float | None = None
    alone: float | None = None
    agreement: float | None = None
    channels: tuple[int, ...] = ()
    most: int = 0
    similarity: float | None = None
    before_training: bool = False

    @property
    def proven(self) -> bool:
        """Whether it explains the loss."""
        return self.share >= PROVEN

    @property
    def words(self) -> str:
        """What it is, as a half sentence."""
        if self.kind == "channels":
            gone = f"{len(self.channels)} of the {self.most} channels of layer {self.title}"
            told = f"{gone} that mattered most to it were removed"
            told += f", which alone costs {self.alone:.1f} points" if self.alone and self.alone > 0 else ""
            return f"{told} before fine-tuning" if self.before_training else told
        if self.kind == "features":
            return (
                f"it was trained to other weights, and from layer {self.title} on what it computes is no longer what "
                f"the parent computes (similarity {self.similarity:.2f} of 1)"
            )
        what = "has other weights" if self.kind == "weights" else "is computed in fewer bits"
        told = f"layer {self.title} {what}"
        if not self.proven:
            return f"no single layer explains it, {self.title} does most"
        if self.restored is not None and self.restored > 0:
            return f"{told}; with it alone as in the parent, {self.restored:.1f} points come back"
        if self.alone is not None and self.alone > 0:
            return f"{told}, which alone costs {self.alone:.1f} points"
        return told


@dataclass(frozen=True)
class Effects:
    """What was found out about the causes of a loss.

    Attributes:
        subject: The class that they were looked for; empty for the mean over classes.
        parent: Its IoU on the frames that were looked at, in percent.
        child: The same of the child.
        frames: How many frames these were.
        causes: The strongest first.
        least: With so many of them undone together, from the first on, half of the loss comes back; 0 where that was
            not tried.
        won: The points that come back with these.
    """

    subject: str
    parent: float
    child: float
    frames: int
    causes: tuple[Cause, ...]
    least: int = 0
    won: float = 0.0
