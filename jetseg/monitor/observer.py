"""Looks at a run twice a second and keeps what it saw, for logs, metrics and dashboards alike."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from threading import Event, Thread
from time import perf_counter
from typing import Any

from jetseg.monitor.host import HostMonitor, HostSample
from jetseg.monitor.statistics import LoopStatistics, LoopSummary

PERIOD_SECONDS = 0.5
_RATE_SECONDS = 2.0


@dataclass(frozen=True)
class Observation:
    """A run at one moment.

    Attributes:
        at: Unix time, in seconds.
        frames_per_second: Over the last two seconds; 0 while no frame comes.
        since_last_frame_s: Since a class map was ready; None before the first one.
        advanced: Whether since the look before a class map was ready, or an idle loop waited for its camera.
        frame_age_ms: p50, p95 and p99 of the last frames; empty before the first one.
        stage_ms: Median of the last frames, by stage.
        summary: The figures of the whole run so far.
        host: The machine.
        further: What other monitors say of themselves, as nested plain values.
    """

    at: float
    frames_per_second: float
    since_last_frame_s: float | None
    advanced: bool
    frame_age_ms: dict[str, float]
    stage_ms: dict[str, float]
    summary: LoopSummary
    host: HostSample | None
    further: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Returns everything as plain values, for JSON."""
        return asdict(self)

    def remaining(self, apart: Collection[str]) -> dict[str, Any]:
        """Returns what the summary and the other monitors hold, without what is named in `apart`."""
        held = {**asdict(self.summary), **self.further}
        return {name: value for name, value in held.items() if name not in apart}


Listener = Callable[[Observation], None]


class Observer:
    """Observes in its own thread between `with` and its end.

    Args:
        statistics: Of the run.
        host: Gives the machine's state, if there is one.
        further: Gives what other monitors say of themselves, such as drift and shadow.
        period_seconds: Between observations.
    """

    def __init__(
        self,
        statistics: LoopStatistics,
        host: HostMonitor | None = None,
        *,
        further: Callable[[], Mapping[str, Any]] = dict,
        period_seconds: float = PERIOD_SECONDS,
    ) -> None:
        self._statistics = statistics
        self._host = host
        self._further = further
        self._period_seconds = period_seconds
        self._moments: deque[tuple[float, int]] = deque()
        self._last_count = 0
        self._last_change: float | None = None
        self._last_waits = 0
        self._listeners: list[Listener] = []
        self._ended = Event()
        self._thread = Thread(target=self._work, name="jetseg-observer", daemon=True)
        self.latest = self.observe()

    def __enter__(self) -> Observer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def listen(self, listener: Listener) -> None:
        """Calls `listener` with every observation from now on, in the observer's thread; it must not raise."""
        self._listeners.append(listener)

    def observe(self) -> Observation:
        """Looks now."""
        statistics, now = self._statistics, perf_counter()
        age = statistics.frame_age.recent_percentiles()
        stages = {name: record.recent_percentiles() for name, record in statistics.stages.items()}
        count = statistics.rate.count
        if count != self._last_count:
            self._last_count, self._last_change = count, now
        waits = self._waits()
        return Observation(
            at=time.time(),
            frames_per_second=self._rate(now, count),
            since_last_frame_s=None if self._last_change is None else now - self._last_change,
            advanced=waits or self._last_change == now,
            frame_age_ms=asdict(age) if age else {},
            stage_ms={name: figures.p50 for name, figures in stages.items() if figures},
            summary=statistics.summary(),
            host=self._host.latest if self._host else None,
            further={**self._further(), **({"tasks": statistics.tasks} if statistics.tasks else {})},
        )

    def _waits(self) -> bool:
        """Tells whether the source said again that it waits for its camera, and no other stage is at work."""
        before, self._last_waits = self._last_waits, self._statistics.waits
        at_work = {stage for stage, since in self._statistics.busy_since.copy().items() if since is not None}
        return self._last_waits != before and at_work <= {"capture"}

    def _rate(self, now: float, count: int) -> float:
        self._moments.append((now, count))
        while len(self._moments) > 2 and now - self._moments[1][0] >= _RATE_SECONDS:
            self._moments.popleft()
        (first, first_count) = self._moments[0]
        return (count - first_count) / (now - first) if now > first else 0.0

    def _work(self) -> None:
        failing = False
        while not self._ended.wait(self._period_seconds):
            try:
                self.latest = self.observe()
            except Exception as error:
                # figures that another thread is writing may refuse to be read; half a second later they do not
                if failing:
                    continue
                failing = True
                text = f"The figures of the run could not be read: {error}"
                self._statistics.events.add("figures-failed", "warning", text)
            else:
                failing = False
                for listener in self._listeners:
                    listener(self.latest)
