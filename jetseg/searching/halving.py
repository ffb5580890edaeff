"""Successive halving over any number of workers: which trial is worked at next, and for how long.

The rule is that of ASHA (Li et al., arXiv:1810.05934): of the trials that have a rung behind them, one in `reduction`
goes on to the next, and nobody waits for the others. Lower rungs come first, so that one worker alone halves a whole
set at a time; with a time to keep to, each rung has its share of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from jetseg.searching.config import LAST_RUNG, MOST_EPOCHS
from jetseg.searching.entries import Entry, seconds_worked
from jetseg.searching.facts import Facts
from jetseg.searching.ranking import ranked

_SHARES = (0.2, 0.45)
"""Parts of the time after which probes end, and short trainings."""
_SPARE = 0.95
"""Part of the time that is planned for."""
_GUESSED_OVERHEAD_SECONDS = 30.0


@dataclass(frozen=True)
class Step:
    """What a worker does next.

    Attributes:
        kind: work: at `entry`. wait: others work, and what comes of it is needed. drop: the rest of the trials leads
            no longer. done: nothing is left.
        entry: The trial.
        epochs: Epochs of its next rung.
        rest: The trials to drop.
    """

    kind: Literal["work", "wait", "drop", "done"]
    entry: Entry | None = None
    epochs: int = 0
    rest: tuple[Entry, ...] = ()


def next_step(entries: Sequence[Entry], facts: Facts) -> Step:
    """Decides what one worker does next.

    Args:
        entries: All trials.
        facts: What holds for the search.
    """
    alive = [entry for entry in entries if not entry.lost]
    waiting = [entry for entry in alive if entry.state == "waiting"]
    waiting.sort(key=lambda entry: (entry.slot, entry.number))
    for entry in waiting:
        if entry.has_all:
            return Step("work", entry)
    for rung in range(LAST_RUNG + 1):
        leading = {entry.slot for entry in leaders(alive, facts, rung)}
        for entry in waiting:
            if entry.rung == rung and entry.slot in leading and _has_time(alive, facts, rung):
                return Step("work", entry, epochs_for(entry, alive, facts))
    if any(entry.state == "running" for entry in alive):
        return Step("wait")
    rest = tuple(entry for entry in waiting if entry.scores)
    return Step("drop", rest=rest) if rest else Step("done")


def leaders(entries: Sequence[Entry], facts: Facts, rung: int) -> list[Entry]:
    """Returns the trials that may have a rung, the best first; those that have had it are among them."""
    if rung == 0:
        return list(entries)
    had = [entry for entry in entries if entry.rung >= rung and entry.state != "failed"]
    places = max(1, len(had) // facts.config.reduction)
    if rung == LAST_RUNG and facts.config.minutes is not None:
        # all of the time that is left is best spent on one, by each worker
        places = min(places, len({score.worker for entry in entries for score in entry.scores}))
    rejected = sum(entry.rung > rung and not entry.scores[rung].passed for entry in had)
    return ranked(had, facts, rung - 1)[: places + rejected]


def epochs_for(entry: Entry, entries: Sequence[Entry], facts: Facts) -> int:
    """Returns the epochs of a trial's next rung: as many as fit into the time that is left for it."""
    config, rung = facts.config, entry.rung
    if len(entry.epochs) > rung:
        return entry.epochs[rung]
    per_epoch = _epoch_seconds(entry) or _epoch_seconds(*entries)
    if config.minutes is None or rung == 0 or per_epoch is None:
        return config.rung_epochs(rung)
    left = _SPARE * _end_of(facts, rung) - seconds_worked(entries)
    had = sum(other.rung > rung for other in entries)
    probed = sum(other.rung > 0 for other in entries)
    places = max(1, probed // config.reduction) if rung < LAST_RUNG else 1
    own = left / max(1, places - had) - _overhead_seconds(entries, rung)
    return max(1, min(MOST_EPOCHS, int(own / per_epoch)))


def _has_time(entries: Sequence[Entry], facts: Facts, rung: int) -> bool:
    """Tells whether a rung may begin now; the first of each always may, so that there is a result."""
    least = facts.config.reduction if rung == 0 else 1
    if sum(entry.state == "running" or (entry.rung > rung and entry.scores[rung].passed) for entry in entries) < least:
        return True
    return facts.config.minutes is None or seconds_worked(entries) < _end_of(facts, rung)


def _end_of(facts: Facts, rung: int) -> float:
    """Returns the second at which a rung's share of the time ends."""
    return 60 * (facts.config.minutes or 0.0) * (*_SHARES, 1.0)[rung]


def _epoch_seconds(*entries: Entry) -> float | None:
    """Returns what an epoch took in the mean, newest scores first; None if that is not known."""
    known = [score.epoch_seconds for entry in entries for score in entry.scores if score.epoch_seconds is not None]
    return sum(known) / len(known) if known else None


def _overhead_seconds(entries: Sequence[Entry], rung: int) -> float:
    """Returns what a rung takes beside its training, from those that had it or the one before."""
    for known in (rung, rung - 1):
        spent = [
            score.ended - score.began - score.epoch_seconds * entry.epochs[known]
            for entry in entries
            if entry.rung > known and len(entry.epochs) > known
            for score in [entry.scores[known]]
            if score.epoch_seconds is not None
        ]
        if spent:
            return max(0.0, sum(spent) / len(spent))
    return _GUESSED_OVERHEAD_SECONDS
