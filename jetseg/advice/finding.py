"""What a probe found out about one technique."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from jetseg.advice.plan import Plan

Basis = Literal["measured", "predicted", "prior"]
"""measured: of this network, here; predicted: it follows from what was measured, or from tables and peaks of a device;
prior: a guess, from what the literature says of other networks."""
Confidence = Literal["high", "medium", "low"]
_BASES: tuple[Basis, ...] = get_args(Basis)
_CONFIDENCES: tuple[Confidence, ...] = get_args(Confidence)


def weakest(*bases: Basis) -> Basis:
    """Returns the least certain of what figures rest on.

    >>> weakest("measured", "prior", "predicted")
    'prior'
    """
    return _BASES[doubt(*bases)]


def confidence_in(*bases: Basis) -> Confidence:
    """Returns how far to trust figures: high if all were measured, medium if some were predicted, low with a prior."""
    return _CONFIDENCES[doubt(*bases)]


def doubt(*bases: Basis) -> int:
    """Returns the place of the least certain basis: the larger, the less certain."""
    return max(map(_BASES.index, bases))


@dataclass(frozen=True)
class Option:
    """One way to use a technique.

    Attributes:
        plan: What is done.
        speedup: How many times as fast as the float network; None where nobody knows.
        expected_drop: Points of mIoU that are expected to be lost; negative for a gain, None where nobody knows.
        hours: What it costs on this machine, in hours of training.
        speedup_from: What the speedup rests on.
        drop_from: What the expected drop rests on.
        source: Where the two figures are from, as a sentence.
    """

    plan: Plan
    speedup: float | None
    expected_drop: float | None
    hours: float
    speedup_from: Basis
    drop_from: Basis
    source: str

    @property
    def confidence(self) -> Confidence:
        """How far to trust the two figures."""
        return confidence_in(self.speedup_from, self.drop_from)

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
