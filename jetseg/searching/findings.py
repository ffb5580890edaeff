"""What a search found: the front of verified engines, the best one, and the reasons for it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jetseg.searching.config import LAST_RUNG
from jetseg.searching.entries import Entry
from jetseg.searching.facts import Facts
from jetseg.searching.proposals import chosen, importances
from jetseg.searching.ranking import admits, admitted, front, ranked
from jetseg.searching.space import Numbers, Params, Space, Value, Words


@dataclass(frozen=True)
class Found:
    """One engine that was built, gated and measured.

    Attributes:
        trial: The trial that made it.
        engine: Its file, on the machine that built it.
        machine: That machine.
        miou: On the validation split, in percent.
        latency_ms: Of one frame.
        size_bytes: Of the file.
        rung: The rung that it is of, counted from 0.
        within_budget: It keeps to all budgets.
        choices: What was chosen, fixed choices included.
    """

    trial: int
    engine: str
    machine: str
    miou: float
    latency_ms: float
    size_bytes: int
    rung: int
    within_budget: bool
    choices: Params


@dataclass(frozen=True)
class Counts:
    """How many trials ended how.

    Attributes:
        complete: They had all rungs.
        failed: Something unexpected stopped them, or their workers died again and again.
        pruned: They did not lead, or could not be made.
        waiting: They were not begun, or not ended.
    """

    complete: int
    failed: int
    pruned: int
    waiting: int


@dataclass(frozen=True)
class Bought:
    """What one choice of the best trial brought.

    Attributes:
        choice: Its name.
        value: What was chosen.
        miou_gain: Points of mIoU by which the best trial with this value is ahead of the best one with another, on the
            highest rung that both kinds had; None where nothing else was tried.
        other: What that other one chose.
        rung: That rung, counted from 0.
    """

    choice: str
    value: Value
    miou_gain: float | None = None
    other: Value | None = None
    rung: int | None = None


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        best: The best engine within the budgets; None if there is none.
        recipe: The recipe that makes it; None likewise.
        front: Engines that no other beats in mIoU, latency and size, the most accurate first.
        trials: How many trials ended how.
        bought: What each choice of the best one brought, the most first.
        runner_up: The next best engine within the budgets.
        importance: How much each choice decides about mIoU; they add up to 1.
        given: mIoU, latency and size of the given network.
        budget_ms: Most milliseconds that were allowed; None without a budget.
        lost: Reasons of the trials that failed, could not be made or were rejected, by trial.
    """

    best: Found | None
    recipe: Path | None
    front: tuple[Found, ...]
    trials: Counts
    bought: tuple[Bought, ...] = ()
    runner_up: Found | None = None
    importance: Mapping[str, float] = field(default_factory=dict)
    given: Mapping[str, float] = field(default_factory=dict)
    budget_ms: float | None = None
    lost: Mapping[int, str] = field(default_factory=dict)


def find(entries: Sequence[Entry], space: Space, fixed: Params, facts: Facts) -> SearchResult:
    """Reads the result off the trials; the recipe is not written yet."""
    alive = [entry for entry in entries if not entry.lost]
    found = [
        _found(entry, rung, fixed, facts)
        for entry in alive
        for rung, score in enumerate(entry.scores)
        if score.engine is not None and score.passed
    ]
    within = [_found(entry, rung, fixed, facts) for entry, rung in admitted(alive, facts)]
    best = within[0] if within else None
    return SearchResult(
        best=best,
        recipe=None,
        front=tuple(sorted(front(found), key=lambda one: (-one.miou, one.latency_ms))),
        trials=count(entries),
        bought=tuple(_bought(best, alive, space, facts)) if best else (),
        runner_up=next((one for one in within if best and one.trial != best.trial), None),
        importance=importances(alive, space, facts),
        given={"miou": facts.miou, "latency_ms": facts.latency_ms, "size_bytes": facts.size_bytes},
        budget_ms=facts.budget_ms,
        lost={entry.slot: entry.reason for entry in alive if entry.wasted or (entry.has_all and entry.reason)},
    )


def count(entries: Sequence[Entry]) -> Counts:
    """Counts the trials of a search, each once, however often it was begun."""
    states: dict[int, str] = {}
    for entry in sorted(entries, key=lambda entry: entry.number):
        if not entry.lost or entry.slot not in states:
            states[entry.slot] = "failed" if entry.lost else entry.state
    ended = {state: list(states.values()).count(state) for state in ("complete", "failed", "pruned")}
    return Counts(**ended, waiting=len(states) - sum(ended.values()))


def _found(entry: Entry, rung: int, fixed: Params, facts: Facts) -> Found:
    score = entry.scores[rung]
    return Found(
        trial=entry.slot,
        engine=score.engine or "",
        machine=score.machine,
        miou=score.miou,
        latency_ms=score.latency_ms,
        size_bytes=score.size_bytes,
        rung=rung,
        within_budget=admits(score, facts),
        choices=chosen(entry, fixed),
    )


def _bought(best: Found, entries: Sequence[Entry], space: Space, facts: Facts) -> Iterator[Bought]:
    """Tells for each choice that was searched what the best trial's value brought, the most first."""
    entry = next(entry for entry in entries if entry.slot == best.trial and entry.scores)
    gains = [_gain(name, entry.params[name], entries, space, facts) for name in entry.params]
    yield from sorted(gains, key=lambda gain: -(gain.miou_gain if gain.miou_gain is not None else -math.inf))


def _gain(name: str, value: Value, entries: Sequence[Entry], space: Space, facts: Facts) -> Bought:
    """Compares the best trial that chose alike with the best that chose otherwise, on the highest rung of both."""
    for rung in reversed(range(LAST_RUNG + 1)):
        had = ranked([entry for entry in entries if entry.rung > rung and name in entry.params], facts, rung)
        alike = [entry for entry in had if _alike(space[name], entry.params[name], value)]
        others = [entry for entry in had if entry not in alike]
        if alike and others:
            gain = alike[0].scores[rung].miou - others[0].scores[rung].miou
            return Bought(name, value, gain, others[0].params[name], rung)
    return Bought(name, value)


def _alike(choice: Words | Numbers, one: Value, other: Value) -> bool:
    """Tells whether two values are the same, or numbers within a tenth of what there is to choose from."""
    if isinstance(choice, Words):
        return one == other
    ends = (choice.low, choice.high, float(one), float(other))
    low, high, first, second = map(math.log, ends) if choice.log else ends
    return abs(first - second) <= 0.1 * (high - low)
