"""What holds for a whole search: read from a storage as data, and checked."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pydantic import Field

from jetseg.config import Record
from jetseg.searching.config import SearchConfig


class Identity(Record):
    """What all workers of a search must have in common; known before anything is made.

    Attributes:
        version: Of jetseg, when the search began.
        config: Its settings.
        space: What is chosen from, in words, by the names of the choices.
        checkpoint: Path of the given network, on the machine where it began.
        checkpoint_sha256: Its hash.
        data: Dataset spec, there.
        data_sha256: Hash of the data.
        teacher_sha256: Hash of a teacher that is not the given network.
        device: What latencies are measured on.
    """

    version: str
    config: SearchConfig
    space: Mapping[str, str]
    checkpoint: str
    checkpoint_sha256: str
    data: str
    data_sha256: str
    teacher_sha256: str | None = None
    device: str


class Facts(Identity):
    """What holds for a whole search.

    Attributes:
        miou: Of the given network, in percent.
        latency_ms: Of its engine.
        size_bytes: Of its engine.
    """

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
