"""What a run came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from jetseg.monitor.host import HostSummary
from jetseg.monitor.statistics import LoopSummary


@dataclass(frozen=True)
class DriveResult:
    """What a run came to.

    Attributes:
        conditions: What the figures belong to: engine, source, split, device, backend, precision, toolchain.
        summary: The figures of the loop.
        monitors: Where "drift", "estimate" and "shadow" stand; None for what is off.
        host: What the machine did; None if the run was too short to tell.
    """

    conditions: Mapping[str, Any]
    summary: LoopSummary
    monitors: Mapping[str, Any]
    host: HostSummary | None

    @property
    def cameras(self) -> Mapping[str, DriveResult]:
        """This one, without a name, as a run of several gives theirs."""
        return {"": self}

    @property
    def frames_per_second(self) -> float | None:
        """Class maps per second; None with fewer than two."""
        return self.summary.frames_per_second

    @property
    def engine_frames_per_second(self) -> float | None:
        """The bare engine's rate."""
        return self.summary.engine_frames_per_second

    def as_dict(self) -> dict[str, Any]:
        """Returns everything as plain values, for JSON."""
        host = None if self.host is None else asdict(self.host)
        return {**self.conditions, **asdict(self.summary), **self.monitors, "host": host}
