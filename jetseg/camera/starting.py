"""Notices a run that hangs before its first frame: while it opens, times and warms up what it needs."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Thread
from time import perf_counter
from types import TracebackType

from typing_extensions import Self

from jetseg.camera.stopping import StopFlag
from jetseg.errors import StageStoppedError

OPENING_SECONDS = 60.0
"""What opening an engine may take at least, whatever a frame may take; large plans are slow to load."""
_SECONDS_TO_STOP = 2.0
_POLL_SECONDS = 0.1


class StartWatch:
    """Watches a start from a thread of its own, while the block runs; gives up at most once.

    Args:
        bound_seconds: How long one run of an engine may take.
        stop: Asks the run to end; what does not come back within two seconds then is given up.
        give_up: Called in the watch's thread with what hangs; it should end the process, since nothing else can.
    """

    def __init__(self, bound_seconds: float, stop: StopFlag, give_up: Callable[[StageStoppedError], None]) -> None:
        self._bound = bound_seconds
        self._stop = stop
        self._give_up = give_up
        self.open("engine")
        self._ended = Event()
        self._thread = Thread(target=self._watch, name="jetseg-start-watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        """Ends watching: the loop has a watchdog of its own."""
        self._ended.set()

    def open(self, what: str, seconds: float | None = None) -> None:
        """Says that something is opened now, and how long that may take."""
        self._doing, self._since = f"opening of the {what}", perf_counter()
        self._patience = max(OPENING_SECONDS, self._bound) if seconds is None else seconds

    def beat(self) -> None:
        """Says that a run of an engine begins."""
        self._doing, self._patience, self._since = "timing", self._bound, perf_counter()

    def _watch(self) -> None:
        asked_at: float | None = None
        while not self._ended.wait(_POLL_SECONDS):
            now = perf_counter()
            if self._stop.requested and asked_at is None:
                asked_at = now
            stuck = asked_at is not None and now - max(asked_at, self._since) > _SECONDS_TO_STOP
            if stuck or now - self._since > self._patience:
                self._give_up(
                    StageStoppedError(self._doing, f"it has not come back for {now - self._since:.1f} seconds")
                )
                return
