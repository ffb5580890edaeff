"""What brings a loss back: proposed, and tried where that was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

RepairKind = Literal["float-layers", "keep-channels", "restore-layer", "temperature", "train"]


@dataclass(frozen=True)
class Repair:
    """The least change that brings a loss back.

    Attributes:
        kind: What is done.
        words: The same as a sentence.
        command: A command that does it; empty where none does.
        layers: Layers that it is about.
        expected: Points that it brought back in the experiment that it was found by; None without one.
        recovered: Points that it brought back when it was tried on all frames, of a temperature on frames that it was
            not fitted to; None if it was not tried.
        share: The same as a share of the loss.
        latency_ms: What the child takes, and what it takes repaired; None if that was not measured.
    """

    kind: RepairKind
    words: str
    command: str = ""
    layers: tuple[str, ...] = ()
    expected: float | None = None
    recovered: float | None = None
    share: float | None = None
    latency_ms: tuple[float, float] | None = None
