"""Which result beats which: the one rule by which trials go on, proposals are learned and the best engine is chosen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar

from jetseg.searching.entries import Entry, Score
from jetseg.searching.facts import Facts


class Figures(Protocol):
    """What is compared."""

    @property
    def miou(self) -> float:
        """In percent."""

    @property
    def latency_ms(self) -> float:
        """Of one frame."""

    @property
    def size_bytes(self) -> int:
        """Of the file."""


T = TypeVar("T", bound=Figures)


def beats(one: Figures, other: Figures) -> bool:
    """Tells whether one is as good as another in mIoU, latency and size, and better in one of them."""
    gains = (one.miou - other.miou, other.latency_ms - one.latency_ms, other.size_bytes - one.size_bytes)
    return min(gains) >= 0 and max(gains) > 0


def front(found: Sequence[T]) -> list[T]:
    """Returns those that no other beats."""
    return [one for one in found if not any(beats(other, one) for other in found)]


def order(score: Score, facts: Facts) -> tuple[float, ...]:
    """Returns what scores are sorted by, the best first.

    Rejected engines come last; before them what is over the budget, and before that what is not accurate enough. The
    rest is sorted by mIoU; where only the accuracy has a bound, by latency.
    """
    shortfall = max(0.0, facts.least_miou - score.miou)
    fastest_first = facts.budget_ms is None and facts.config.max_drop is not None
    aims = (score.latency_ms, -score.miou) if fastest_first else (-score.miou, score.latency_ms)
    return (float(not score.passed), excess(score, facts), shortfall, *aims, float(score.size_bytes))


def excess(score: Score, facts: Facts) -> float:
    """Returns by which fraction a latency is over the budget."""
    return max(0.0, score.latency_ms / facts.budget_ms - 1) if facts.budget_ms is not None else 0.0


def admits(score: Score, facts: Facts) -> bool:
    """Tells whether an engine keeps to all budgets."""
    return not any(order(score, facts)[:3])


def ranked(entries: Sequence[Entry], facts: Facts, rung: int) -> list[Entry]:
    """Sorts trials by what they came to on a rung, the best first.

    Without a budget of time, trials that no other beats come first, then those that only these beat, and so on.
    """
    scores = {entry.number: entry.scores[rung] for entry in entries}
    left = sorted(entries, key=lambda entry: (order(scores[entry.number], facts), entry.slot))
    if facts.budget_ms is not None:
        return left
    passed = [entry for entry in left if scores[entry.number].passed]
    return [*_by_fronts(passed, scores), *(entry for entry in left if not scores[entry.number].passed)]


def _by_fronts(entries: Sequence[Entry], scores: dict[int, Score]) -> Iterator[Entry]:
    left = list(entries)
    while left:
        unbeaten = {id(score) for score in front([scores[entry.number] for entry in left])}
        yield from (entry for entry in left if id(scores[entry.number]) in unbeaten)
        left = [entry for entry in left if id(scores[entry.number]) not in unbeaten]


def admitted(entries: Sequence[Entry], facts: Facts) -> list[tuple[Entry, int]]:
    """Returns the engines that keep to all budgets, with their rungs, the best first."""
    found = [
        (entry, rung)
        for entry in entries
        for rung, score in enumerate(entry.scores)
        if not entry.lost and score.engine is not None and admits(score, facts)
    ]
    return sorted(found, key=lambda one: (order(one[0].scores[one[1]], facts), one[0].slot))
