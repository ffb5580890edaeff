"""Any source that is not a camera, paced like one."""

from __future__ import annotations

import time
from dataclasses import replace
from time import perf_counter

from jetseg.camera.contract import Source, SourceFrame

_PATIENCE_SECONDS = 0.1


class PacedSource(Source):
    """Another source as a live camera: a frame each period, ready when it is due, whoever is waiting.

    Args:
        source: Gives the frames.
        frames_per_second: Of the camera that it stands for.
    """

    live = True

    def __init__(self, source: Source, frames_per_second: float) -> None:
        self.name = source.name
        self.split = source.split
        self.frames_per_second = frames_per_second
        self.size_hw = source.size_hw
        self.classes = source.classes
        self.ignore_index = source.ignore_index
        self.losses = source.losses
        self._source = source
        self._period = 1 / frames_per_second
        self._due: float | None = None
        self._next: SourceFrame | None = None

    def read(self) -> SourceFrame | None:
        """Decodes the next frame ahead of time and gives it when it is due.

        Raises:
            TimeoutError: It is not due yet.
        """
        if self._next is None:
            self._next = self._source.read()
            # a source that decodes too slowly for the pace delays the frames after it as well
            self._due = perf_counter() if self._due is None else max(self._due + self._period, perf_counter())
        frame, wait = self._next, (self._due or 0.0) - perf_counter()
        if frame is None:
            return None
        if wait > 0:
            time.sleep(min(wait, _PATIENCE_SECONDS))
        if wait > _PATIENCE_SECONDS:
            raise TimeoutError
        self._next = None
        return replace(frame, captured_at=perf_counter(), shown_at=None, shown_for=None)

    def close(self) -> None:
        """Closes the other source."""
        self._source.close()
