"""Any source that is not a camera, paced like one, or by its own time."""

from __future__ import annotations

import time
from dataclasses import replace
from time import perf_counter

from jetseg.camera.contract import DatedBy, Source, SourceFrame

_PATIENCE_SECONDS = 0.1
_LONGEST_STEP_SECONDS = 5.0
"""A longer gap in a recording is not waited for."""


class PacedSource(Source):
    """Another source as a live camera: each frame is ready when it is due, whoever is waiting.

    Args:
        source: Gives the frames.
        frames_per_second: Of the camera that it stands for; None takes the times at which the source shows them.
    """

    live = True

    def __init__(self, source: Source, frames_per_second: float | None) -> None:
        self.name = source.name
        self.split = source.split
        self.frames_per_second = frames_per_second
        self.size_hw = source.size_hw
        self.classes = source.classes
        self.ignore_index = source.ignore_index
        self.losses = source.losses
        self._source = source
        self._period = None if frames_per_second is None else 1 / frames_per_second
        self._shown_at: float | None = None
        self._due: float | None = None
        self._next: SourceFrame | None = None

    def read(self) -> SourceFrame | None:
        """Decodes the next frame ahead of time and gives it when it is due.

        Raises:
            TimeoutError: It is not due yet.
        """
        if self._next is None:
            self._next = self._source.read()
            step = self._step()
            # a source that decodes too slowly for the pace delays the frames after it as well
            self._due = perf_counter() if self._due is None else max(self._due + step, perf_counter())
        frame, wait = self._next, (self._due or 0.0) - perf_counter()
        if frame is None:
            return None
        if wait > 0:
            time.sleep(min(wait, _PATIENCE_SECONDS))
        if wait > _PATIENCE_SECONDS:
            raise TimeoutError
        self._next = None
        if self._period is None:  # as it came then, so also as old as it was
            dated_by: DatedBy = "arrival" if frame.lag_s is None else "capture"
            captured_at = perf_counter() - (frame.lag_s or 0.0)
        else:
            dated_by, captured_at = "capture", perf_counter()
        return replace(frame, captured_at=captured_at, shown_at=None, shown_for=None, dated_by=dated_by)

    def _step(self) -> float:
        """Returns the time between the frame before and the next one."""
        if self._period is not None:
            return self._period
        shown_at = None if self._next is None else self._next.shown_at
        before, self._shown_at = self._shown_at, shown_at
        if shown_at is None or before is None:
            return 0.0
        return min(max(shown_at - before, 0.0), _LONGEST_STEP_SECONDS)

    def close(self) -> None:
        """Closes the other source."""
        self._source.close()
