"""A latency that was predicted, with its interval and its source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from jetseg.latency.unit import Unit
from jetseg.manifest import Precision


@dataclass(frozen=True)
class LatencyEstimate:
    """A latency that was not measured.

    Attributes:
        latency_ms: The prediction.
        low: Lower end of the interval.
        high: Upper end of the interval.
        coverage: How many of 100 networks lie between them.
        source: What it is predicted from: a table of measured operators, or peaks of the device alone.
        device: Whose latency it is, with power mode, backend, version, precision and threads.
        note: What to know of it; empty if nothing.
    """

    latency_ms: float
    low: float
    high: float
    coverage: int
    source: Literal["table", "roofline"]
    device: str
    note: str = ""


class LatencyModel(Protocol):
    """Predicts latencies on one device, in one backend and precision."""

    @property
    def backend(self) -> str:
        """A name of `jetseg.registry.BACKENDS`, which tells a network's operators."""
        ...

    @property
    def precision(self) -> Precision:
        """Precision of the engines."""
        ...

    def network(self, units: Sequence[Unit]) -> LatencyEstimate:
        """Predicts a whole network from its operators as the backend fuses them."""
        ...

    def units_ms(self, units: Sequence[Unit]) -> list[float]:
        """Predicts operators, each for itself, in milliseconds."""
        ...
