"""One worker of a search: takes trials as long as there are any, on whatever machine."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from jetseg.errors import JetsegError, StageStoppedError, UnavailableError
from jetseg.progress import Task, task
from jetseg.searching.board import Board, TakenOverError
from jetseg.searching.entries import Entry, Score, seconds_worked
from jetseg.searching.facts import Facts
from jetseg.searching.halving import Step, next_step
from jetseg.searching.liveness import BEAT_SECONDS, beating
from jetseg.searching.proposals import propose
from jetseg.searching.ranking import admitted

_LOG = logging.getLogger(__name__)

Measure = Callable[[Board, Entry], Score]
"""Brings a trial, whose choices are made, to the score of its next rung."""


def work(board: Board, facts: Facts, measure: Measure, beat_seconds: float = BEAT_SECONDS) -> None:
    """Works at trials until nothing is left to do.

    Args:
        board: The trials.
        facts: What holds for the search.
        measure: Brings a trial to its next score.
        beat_seconds: How often this worker tells that it lives.

    Raises:
        UnavailableError: This machine lacks something; the trial waits for another worker.
        StorageError: The storage does not answer.
    """
    with task("Searching", facts.config.trials) as running:
        while True:
            board.revive()
            entries = board.entries()
            _tell(running, entries, facts)
            step = next_step(entries, facts)
            if step.kind == "done":
                return
            if step.kind == "wait":
                board.pause()
            elif step.kind == "drop":
                _drop(board, step.rest)
            else:
                _work_at(board, step, entries, facts, measure, beat_seconds)


def _work_at(
    board: Board, step: Step, entries: Sequence[Entry], facts: Facts, measure: Measure, beat_seconds: float
) -> None:
    """Takes a trial, brings it to its next score, and gives it back; whatever stops that, the search can go on."""
    try:
        entry = board.take(step.entry, step.epochs) if step.entry else None
    except TakenOverError:
        entry = None
    if entry is None:
        return  # another worker was faster
    began = time.time()
    try:
        with beating(partial(board.beat, entry), beat_seconds):
            if not entry.has_all:
                if set(entry.params) != set(board.space):
                    entry = board.choose(entry, propose(entries, entry, board.space, facts))
                entry = board.score(entry, measure(board, entry))
        _give_back(board, entry)
    except TakenOverError:
        _LOG.warning("Trial %d was taken over: this worker was held for dead.", entry.slot)
    except (UnavailableError, StageStoppedError):
        board.let_go(entry)
        raise
    except JetsegError as error:
        _LOG.info("Trial %d ends: %s", entry.slot, error)
        _end(board.prune, entry, str(error), (began, time.time()))
    except Exception as error:  # one chain may meet a fault that others do not
        _LOG.warning("Trial %d failed: %s: %s", entry.slot, type(error).__name__, error)
        _end(board.fail, entry, f"{type(error).__name__}: {error}", (began, time.time()))
    except BaseException:
        board.let_go(entry)
        raise


def _give_back(board: Board, entry: Entry) -> None:
    """Lets a trial wait for its next rung, or ends it."""
    if not entry.has_all:
        board.release(entry)
    elif entry.scores[-1].passed:
        board.complete(entry)
    else:
        board.prune(entry, "its engine lost too much by its precision")


def _end(
    how: Callable[[Entry, str, tuple[float, float] | None], None],
    entry: Entry,
    reason: str,
    wasted: tuple[float, float] | None = None,
) -> None:
    """Ends a trial, unless another worker did."""
    with suppress(TakenOverError):
        how(entry, reason, wasted)


def _drop(board: Board, rest: Sequence[Entry]) -> None:
    """Prunes what does not lead."""
    for entry in rest:
        _end(board.prune, entry, f"it did not lead after rung {entry.rung}, with {entry.scores[-1].miou:.2f} % mIoU")


def _tell(running: Task, entries: Sequence[Entry], facts: Facts) -> None:
    """Reports how far the search is: trials that have a score, the best engine so far, and the time that is left."""
    notes = []
    for entry, rung in admitted(entries, facts)[:1]:
        best = entry.scores[rung]
        notes.append(f"best {best.miou:.2f} % at {best.latency_ms:.2f} ms")
    if facts.config.minutes is not None:
        notes.append(f"{max(0.0, facts.config.minutes - seconds_worked(entries) / 60):.0f} min left")
    running.update(done=len({entry.slot for entry in entries if entry.scores}), note=", ".join(notes))
