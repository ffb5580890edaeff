"""What is known of a trial and of a search: read from a storage as data, and checked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field

from jetseg.config import Record
from jetseg.searching.config import LAST_RUNG, SearchConfig
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


class Facts(Record):
    """What holds for a whole search.

    Attributes:
        version: Of jetseg, when it began.
        config: Its settings.
        checkpoint: Path of the given network, on the machine where it began.
        checkpoint_sha256: Its hash.
        data: Dataset spec, there.
        data_sha256: Hash of the data.
        teacher_sha256: Hash of a teacher that is not the given network.
        device: What latencies were measured on.
        miou: Of the given network, in percent.
        latency_ms: Of its engine.
        size_bytes: Of its engine.
    """

    version: str
    config: SearchConfig
    checkpoint: str
    checkpoint_sha256: str
    data: str
    data_sha256: str
    teacher_sha256: str | None = None
    device: str
    miou: float
    latency_ms: float = Field(gt=0)
    size_bytes: int = Field(ge=0)

    @property
    def budget_ms(self) -> float | None:
        """Most milliseconds that an engine may take; None without a budget."""
        if self.config.budget_ratio is not None:
            return self.config.budget_ratio * self.latency_ms
        return self.config.budget_ms

    @property
    def least_miou(self) -> float:
        """Least percent that an engine must reach; minus infinity without a bound."""
        return -math.inf if self.config.max_drop is None else self.miou - self.config.max_drop

    def admits(self, score: Score) -> bool:
        """Tells whether an engine keeps to all budgets."""
        in_time = self.budget_ms is None or score.latency_ms <= self.budget_ms
        return score.passed and in_time and score.miou >= self.least_miou


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
