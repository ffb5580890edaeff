"""Events and figures of a run as JSON lines in files that rotate."""

from __future__ import annotations

import errno
import os
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any

from jetseg.locking import is_at
from jetseg.monitor.events import Event, EventLog
from jetseg.monitor.json_text import json_text
from jetseg.monitor.observer import Observation, Observer
from jetseg.storage import storage_error

FILE_NAME = "jetseg.jsonl"
STATISTICS_SECONDS = 10.0
RETRY_SECONDS = 30.0
_LIMIT_BYTES = 10 << 20
_KEPT_FILES = 5
_WAITING = 1000
_POLL_SECONDS = 0.2
_CLOSE_SECONDS = 5.0


class RunLog:
    """Writes JSON lines in its own thread, each with one system call, so that `kill -9` leaves whole lines.

    A line is `{"type": "event", ...}` with the attributes of an `Event`, `{"type": "statistics", ...}` with those of an
    `Observation`, or `{"type": "estimate", ...}` with a window of the estimate of accuracy. FILE is renamed to FILE.1
    when it is full, FILE.1 to FILE.2, and so on.

    Args:
        path: The file, or a folder, in which it is called jetseg.jsonl.
        events: Whose events are written; gets "log-stopped" when the disk refuses and "log-resumed" later, up to a
            thousand lines wait for that; and "log-deleted" when the file is gone, which is made anew.
        statistics_seconds: Between lines of figures.
        limit_bytes: Size of a file.
        kept_files: Full files that stay beside the present one.
        retry_seconds: Rest after a failure; half a minute by default.

    Raises:
        StorageError: The file cannot be opened.
    """

    def __init__(
        self,
        path: Path,
        events: EventLog,
        *,
        statistics_seconds: float = STATISTICS_SECONDS,
        limit_bytes: int = _LIMIT_BYTES,
        kept_files: int = _KEPT_FILES,
        retry_seconds: float | None = None,
    ) -> None:
        self.path = path if path.suffix and not path.is_dir() else path / FILE_NAME
        self._events = events
        self._statistics_seconds = statistics_seconds
        self._limit_bytes = limit_bytes
        self._kept_files = kept_files
        self._retry_seconds = RETRY_SECONDS if retry_seconds is None else retry_seconds
        self._lines: queue.Queue[bytes] = queue.Queue(_WAITING)
        self._next_statistics = 0.0
        self._last_window: int | None = None
        self._descriptor: int | None = None
        self._rests = False
        self._closing = threading.Event()
        self.lost = 0
        try:
            self._open()
        except OSError as error:
            raise storage_error(self.path, error) from error
        self._thread = threading.Thread(target=self._work, name="jetseg-log", daemon=True)
        self._thread.start()
        events.listen(self._add_event)

    @contextmanager
    def follow(self, observer: Observer) -> Iterator[None]:
        """Writes figures while the block runs, and those at its end."""
        observer.listen(self.add_observation)
        try:
            yield
        finally:
            self.add_last(observer.observe())

    def add_observation(self, observation: Observation) -> None:
        """Writes a line of figures if it is time to, and one for a new window of the estimate."""
        estimate = observation.further.get("estimate")
        if estimate and estimate["window"] != self._last_window:
            self._last_window = estimate["window"]
            self._add({"type": "estimate", "at": observation.at, **estimate})
        now = perf_counter()
        if now >= self._next_statistics:
            self._next_statistics = now + self._statistics_seconds
            self.add_last(observation)

    def add_last(self, observation: Observation) -> None:
        """Writes a line of figures, such as those at the end of the run."""
        self._add({"type": "statistics", **observation.as_dict()})

    def close(self) -> None:
        """Writes what waits, for five seconds at most."""
        self._closing.set()
        self._thread.join(_CLOSE_SECONDS)
        if self._descriptor is not None and not self._thread.is_alive():
            os.close(self._descriptor)
            self._descriptor = None

    def _add_event(self, event: Event) -> None:
        self._add({"type": "event", **asdict(event)})

    def _add(self, record: dict[str, Any]) -> None:
        line = json_text(record) + b"\n"
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self.lost += 1

    def _work(self) -> None:
        while (line := self._next_line()) is not None:
            while not self._written(line):
                if self._closing.wait(self._retry_seconds):
                    return

    def _next_line(self) -> bytes | None:
        while True:
            with suppress(queue.Empty):
                return self._lines.get(timeout=_POLL_SECONDS)
            if self._closing.is_set():
                return None

    def _written(self, line: bytes) -> bool:
        try:
            self._write(line)
        except OSError as error:
            if not self._rests:
                self._rests = True
                self._events.add("log-stopped", "alarm", f"The log stopped: {storage_error(self.path, error)}")
            return False
        if self._rests:
            self._rests = False
            self._events.add("log-resumed", "info", "The log is written again.", lost_lines=self.lost)
        return True

    def _write(self, line: bytes) -> None:
        if self._descriptor is not None and not is_at(self._descriptor, self.path):
            os.close(self._descriptor)
            self._descriptor = None
            text = f"{self.path} was deleted or moved while it was written; the log goes on in a new file."
            self._events.add("log-deleted", "warning", text)
        descriptor = self._open()
        size = os.fstat(descriptor).st_size
        if size and size + len(line) > self._limit_bytes:
            self._rotate(descriptor)
            descriptor, size = self._open(), 0
        try:
            if os.write(descriptor, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            os.ftruncate(descriptor, size)  # no half line stays
            raise

    def _open(self) -> int:
        if self._descriptor is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            size = os.fstat(self._descriptor).st_size
            if size and os.pread(self._descriptor, 1, size - 1) != b"\n":
                os.write(self._descriptor, b"\n")  # a line that a power cut left half stays one line
        return self._descriptor

    def _rotate(self, descriptor: int) -> None:
        names = [self.path, *(Path(f"{self.path}.{number}") for number in range(1, self._kept_files + 1))]
        for older, newer in zip(names[:0:-1], names[-2::-1], strict=True):
            if newer.exists():
                newer.replace(older)
        os.close(descriptor)
        self._descriptor = None
