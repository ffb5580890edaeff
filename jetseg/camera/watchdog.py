"""Notices a stage of the loop that does not come back from what it is doing."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Thread
from time import perf_counter

from jetseg.camera.stopping import StopFlag
from jetseg.errors import StageStoppedError
from jetseg.monitor.statistics import LoopStatistics

_LONGEST_POLL_SECONDS = 0.25
_SECONDS_TO_STOP = 1.5
"""For the frame that a stage has in hand when a signal asks the run to end."""


class Watchdog:
    """Watches the stages from a thread of its own, and barks at most once.

    A stage that waits for work is not stopped, and neither is a source that waits for its camera: it comes
    back from every `read` within a moment. A process that was itself suspended starts anew to count. What
    hangs with Python's own lock held stops the watchdog too; against that only a supervisor's timer helps.

    Args:
        statistics: Of the run; tell since when each stage is busy.
        bound_seconds: How long a stage may take for one frame.
        bark: Called in the watchdog's thread with the stage that stopped; it must be quick.
        stop: Once a signal has set it, a stage has a second and a half.
    """

    def __init__(
        self,
        statistics: LoopStatistics,
        bound_seconds: float,
        bark: Callable[[StageStoppedError], None],
        stop: StopFlag,
    ) -> None:
        self._statistics = statistics
        self._bound = bound_seconds
        self._bark = bark
        self._stop = stop
        self._poll = min(_LONGEST_POLL_SECONDS, bound_seconds / 4)
        self._ended = Event()
        self._thread = Thread(target=self._watch, name="jetseg-watchdog", daemon=True)

    def start(self) -> None:
        """Begins to watch."""
        self._thread.start()

    def end(self) -> None:
        """Ends watching; the thread has ended when this returns."""
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        awake_since = looked_at = perf_counter()
        asked_at: float | None = None
        while not self._ended.wait(self._poll):
            now = perf_counter()
            if now - looked_at > 2 * self._poll + 1:
                awake_since = now
            looked_at = now
            if self._stop.by_signal and asked_at is None:
                asked_at, self._bound = now, min(self._bound, _SECONDS_TO_STOP)
            counts_since = max(awake_since, asked_at or 0.0)
            for stage, since in self._statistics.busy_since.copy().items():
                if since is not None and now - max(since, counts_since) > self._bound:
                    self._bark(StageStoppedError(stage, f"it has not come back for {now - since:.1f} seconds"))
                    return
