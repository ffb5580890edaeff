"""What is known of a trial."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field

from jetseg.config import Record
from jetseg.searching.config import LAST_RUNG
from jetseg.searching.space import Value

State = Literal["waiting", "running", "complete", "pruned", "failed"]


class Score(Record):
    """What a trial came to on one rung.

    Attributes:
        miou: On the validation split, in percent: of the checkpoint after a probe, of the engine later.
        latency_ms: Of one frame, measured; scaled by that of the given network, which was measured beside it.
        size_bytes: Of the engine; after a probe, of the network.
        engine: Its place, on the machine that built it; None after a probe.
        machine: That machine.
        worker: The process that measured it.
        passed: The engine lost no more by its precision than allowed.
        began: Seconds since 1970; likewise `ended`.
        epoch_seconds: What an epoch of its fine-tuning took; None if that was kept from earlier.
    """

    miou: float
    latency_ms: float = Field(gt=0)
    size_bytes: int = Field(ge=0)
    engine: str | None = None
    machine: str = ""
    worker: str = ""
    passed: bool = True
    began: float
    ended: float
    epoch_seconds: float | None = None


@dataclass(frozen=True)
class Entry:
    """One trial.

    Attributes:
        number: Its number in the storage.
        slot: Which of the search's trials it is; one that is run again has the slot of the one before.
        state: What is done with it.
        params: What was chosen.
        scores: What it came to, rung by rung.
        epochs: Epochs of its rungs, as far as they are decided.
        prunes: Whether the chain prunes to the budget; None before that is known.
        worker: Who works at it; empty if nobody does.
        beat: Changes as long as that worker lives.
        reason: Why it was pruned or failed.
        lost: It belonged to a worker that died, or came twice.
        wasted: When a rung that came to no score began and ended, in seconds since 1970.
    """

    number: int
    slot: int
    state: State
    params: Mapping[str, Value] = field(default_factory=dict)
    scores: tuple[Score, ...] = ()
    epochs: tuple[int, ...] = ()
    prunes: bool | None = None
    worker: str = ""
    beat: str = ""
    reason: str = ""
    lost: bool = False
    wasted: tuple[float, float] | None = None

    @property
    def rung(self) -> int:
        """The rung that it stands before; one past the last if it has them all behind it."""
        return len(self.scores)

    @property
    def has_all(self) -> bool:
        """Whether there is nothing left to measure."""
        return self.rung > LAST_RUNG

    @property
    def verified(self) -> Score | None:
        """The newest score of an engine; None if none was built."""
        return self.scores[-1] if self.scores and self.scores[-1].engine else None


def seconds_worked(entries: Sequence[Entry]) -> float:
    """Returns how long at least one worker was at work, interruptions left out.

    >>> one = Score(miou=1, latency_ms=1, size_bytes=1, began=10, ended=30)
    >>> other = Score(miou=1, latency_ms=1, size_bytes=1, began=20, ended=50)
    >>> seconds_worked([Entry(0, 0, "pruned", scores=(one,)), Entry(1, 1, "pruned", scores=(other,))])
    40.0
    """
    total, end = 0.0, -math.inf
    worked = [(score.began, score.ended) for entry in entries for score in entry.scores]
    for began, ended in sorted([*worked, *(entry.wasted for entry in entries if entry.wasted)]):
        total += max(0.0, ended - max(began, end))
        end = max(end, ended)
    return total
