"""What a probe found out about one technique."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from jetseg.advice.plan import Plan

Confidence = Literal["high", "medium", "low"]
"""high: speed and loss were measured; medium: one of them follows from what was measured; low: one was published."""
CONFIDENCES: tuple[Confidence, ...] = get_args(Confidence)
"""All of them, the most certain first."""


@dataclass(frozen=True)
class Option:
    """One way to use a technique.

    Attributes:
        plan: What is done.
        speedup: How many times as fast as the float network; None where nobody knows.
        expected_drop: Points of mIoU that are expected to be lost; negative for a gain, None where nobody knows.
        hours: What it costs on this machine, in hours of training.
        confidence: How far to trust the two figures.
        source: Where they are from, as a sentence.
    """

    plan: Plan
    speedup: float | None
    expected_drop: float | None
    hours: float
    confidence: Confidence
    source: str

    @property
    def usable(self) -> bool:
        """Whether enough is known to build a chain with it."""
        return self.speedup is not None and self.expected_drop is not None


@dataclass(frozen=True)
class Bars:
    """A figure: one bar for each name."""

    title: str
    axis: str
    names: Sequence[str]
    values: Sequence[float]


@dataclass(frozen=True)
class Finding:
    """What came out of one probe.

    Attributes:
        technique: What was tried.
        options: Ways to use it; none where it cannot be used.
        notes: What was seen beside, as sentences.
        impossible: Why it cannot be used here; empty if it can.
        figures: What the page draws.
        seconds: How long it took.
    """

    technique: str
    options: tuple[Option, ...] = ()
    notes: tuple[str, ...] = ()
    impossible: str = ""
    figures: tuple[Bars, ...] = ()
    seconds: float = 0.0
