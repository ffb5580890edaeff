"""Notices scores that are not finite numbers, of which a class map shows nothing."""

from __future__ import annotations

from jetseg.monitor.events import EventLog

_QUIET_SECONDS = 1.0
"""Without such a frame, until it counts as over."""


class ScoreWatch:
    """Counts outputs with NaN or infinity. One thread adds, any thread may read.

    Args:
        events: Gets `scores-not-finite` when it begins, and `scores-not-finite-ended`.
    """

    def __init__(self, events: EventLog) -> None:
        self.frames_not_finite = 0
        self._events = events
        self._last_s: float | None = None

    def add(self, engine: str, moment_s: float, *, finite: bool) -> None:
        """Takes the output of one frame."""
        if not finite:
            self.frames_not_finite += 1
            if self._last_s is None:
                text = (
                    f"{engine} gave scores that are not finite numbers: its class maps mean nothing. A layer overflows "
                    "or divides by zero; build it with a higher precision, or repair the network."
                )
                self._events.add("scores-not-finite", "alarm", text)
            self._last_s = moment_s
        elif self._last_s is not None and moment_s - self._last_s >= _QUIET_SECONDS:
            self._last_s = None
            text = f"All scores are finite again, after {self.frames_not_finite} frames in this run that were not."
            self._events.add("scores-not-finite-ended", "info", text, frames=self.frames_not_finite)
