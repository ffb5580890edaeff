"""A camera that may hang, vanish and return, as a source that is always there.

Each connection lives in a thread of its own, which opens it, reads from it and closes it, and which is left
behind if a driver does not come back from a call. A thread, not a child process: frames need no copy between
processes, and what usually hangs (FFmpeg, V4L2) has time limits of its own, after which a thread that was
left behind closes its connection and ends. A driver without such a limit would leak a thread each time, so
their number is bounded; beyond it the process ends, with exit code 4, for its supervisor to start anew.
"""

from __future__ import annotations

import random
from threading import Condition, Event, Thread
from time import perf_counter

from jetseg.camera.config import LiveLimits
from jetseg.camera.contract import DatedBy, Source, SourceContext, SourceFrame
from jetseg.camera.sources.live.connection import Connect, Connection, Grab, connect_within
from jetseg.camera.sources.sender_clock import SenderClock
from jetseg.errors import JetsegError, StageStoppedError
from jetseg.monitor.events import EventLog
from jetseg.monitor.statistics import SourceLosses
from jetseg.ros.stamp import Stamp

_PATIENCE_SECONDS = 0.1
_CLOSE_SECONDS = 1.0
_MOST_LEFT_BEHIND = 8
_STEADY_SECONDS = 2.0
"""After which a connection counts as good, and the next attempt after it as the first."""
_SECONDS_BETWEEN_CORRUPT_EVENTS = 1.0


def open_live(name: str, connect: Connect, context: SourceContext) -> LiveSource:
    """Opens a camera or stream; if it may be awaited, at once and without it.

    Args:
        name: Of the camera or stream, for people.
        connect: Opens a connection to it.
        context: How long it may take, and whether it is awaited.

    Raises:
        DeviceError: It fails, or does not answer in time.
    """
    connection = None if context.wait else connect_within(context.limits.hung, connect, name)
    return LiveSource(name, connect, context.events, context.limits, connection=connection)


class LiveSource(Source):
    """The newest frame of a camera, whatever happens to it; see `jetseg.camera.contract.Source`.

    Reports `camera-stalled`, `camera-lost`, `camera-back`, `frame-corrupt` and `size-changed`.

    Args:
        name: Of the camera or stream, for people.
        connect: Opens it; raises a `DeviceError` if that fails.
        events: Where to report.
        limits: Time limits.
        connection: One that is open already; without it the source begins with a camera that is lost.
    """

    live = True

    def __init__(
        self,
        name: str,
        connect: Connect,
        events: EventLog,
        limits: LiveLimits | None = None,
        *,
        connection: Connection | None = None,
    ) -> None:
        self.name = name
        self.frames_per_second = connection.frames_per_second if connection else None
        self.size_hw = connection.size_hw if connection else None
        self.losses = SourceLosses()
        self._connect = connect
        self._events = events
        self._limits = limits or LiveLimits()
        self._clock = SenderClock(name, events)
        self._changed = Condition()
        self._frame: SourceFrame | None = None
        self._is_read = False
        self._reader: _Reader | None = None
        self._left_behind: list[_Reader] = []
        self._sequence = self._attempts = self._reported_corrupt = 0
        self._reopen_at = self._corrupt_event_at = 0.0
        self._silent_since = perf_counter()
        self._is_silent = self._is_lost = False
        if connection is not None:
            self._start_reader(connection)
        else:
            self._report_silence("camera-lost", f"{name} is awaited.")

    def read(self) -> SourceFrame:
        """Waits a moment for the newest frame, and looks after the connection.

        Raises:
            TimeoutError: There is none yet.
            StageStoppedError: Too many readings hang in the driver.
        """
        with self._changed:
            self._is_read = True
            if self._frame is None:
                self._changed.wait(_PATIENCE_SECONDS)
            frame, self._frame = self._frame, None
        self._report_corrupt()
        if frame is None:
            self._look_after_reader()
            raise TimeoutError
        self._report_frame(frame)
        return frame

    def close(self) -> None:
        """Ends the reading; may be called twice."""
        reader = self._leave_reader()
        with self._changed:
            self.losses.dropped += self._is_read and self._frame is not None
            self._frame = None
        if reader is not None:
            reader.join(_CLOSE_SECONDS)

    def deliver(self, reader: _Reader, grab: Grab) -> None:
        """Takes what a reader read; nothing from one that was left behind."""
        with self._changed:
            if reader is not self._reader:
                return
            if self._is_read:  # what comes before the run begins is nobody's loss
                self.losses.corrupt += grab.missing + (grab.image_hwc_u8 is None)
                self.losses.dropped += grab.image_hwc_u8 is not None and self._frame is not None
            if grab.image_hwc_u8 is None:
                return
            captured_at, dated_by = self._dated(grab)
            name, image = f"{self._sequence:06d}", grab.image_hwc_u8
            self._frame = SourceFrame(self._sequence, name, captured_at, image, dated_by=dated_by)
            self._sequence += 1
            reader.heard_at = perf_counter()
            self._changed.notify()

    def _dated(self, grab: Grab) -> tuple[float, DatedBy]:
        """Returns when a frame was captured, and what that is, by the sender's clock where it tells and agrees."""
        if grab.sent_ns is None:
            return grab.captured_at, "capture" if grab.dated_by_capture else "arrival"
        captured_at = self._clock.date(Stamp(grab.sent_ns, ""), grab.captured_at)
        return captured_at, "arrival" if self._clock.differs else "capture"

    def wake(self) -> None:
        """Has a waiting `read` look after the reader at once."""
        with self._changed:
            self._changed.notify()

    def _look_after_reader(self) -> None:
        now, reader = perf_counter(), self._reader
        if reader is None:
            if now >= self._reopen_at:
                self._start_reader(None)
            return
        silence = now - reader.heard_at
        if reader.ended.is_set():
            self._lose(reader.reason)
        elif silence > self._limits.hung:
            self._lose(f"{self.name} has not answered for {silence:.1f} seconds")
        elif not self._is_silent and silence > max(self._limits.silent, 3 / (self.frames_per_second or 30.0)):
            self._report_silence("camera-stalled", f"{self.name} has sent no frame for {silence:.1f} seconds.")

    def _start_reader(self, connection: Connection | None) -> None:
        self._left_behind = [reader for reader in self._left_behind if reader.is_alive()]
        if len(self._left_behind) >= _MOST_LEFT_BEHIND:
            raise StageStoppedError("capture", f"{len(self._left_behind)} readings of {self.name} hang in its driver")
        self._attempts += connection is None
        reader = _Reader(self, self._connect, connection)
        with self._changed:
            self._reader = reader
        reader.start()

    def _leave_reader(self) -> _Reader | None:
        """Parts with the reader, which ends as soon as its present call comes back."""
        with self._changed:
            reader, self._reader = self._reader, None
        if reader is not None:
            reader.left.set()
            self._left_behind.append(reader)
        return reader

    def _lose(self, reason: str) -> None:
        self._leave_reader()
        if not self._is_lost:
            self._report_silence("camera-lost", f"{reason}; it is opened again until it is back.")
        longest = min(self._limits.longest_pause, self._limits.first_pause * 2 ** min(self._attempts, 16))
        self._reopen_at = perf_counter() + longest * random.uniform(0.5, 1.0)

    def _report_silence(self, kind: str, text: str) -> None:
        self._is_silent = True
        self._is_lost = kind == "camera-lost"
        silent_s = round(perf_counter() - self._silent_since, 3)
        self._events.add(kind, "alarm" if kind == "camera-lost" else "warning", text, silent_s=silent_s)

    def _report_frame(self, frame: SourceFrame) -> None:
        now, reader = perf_counter(), self._reader
        if self._is_silent:
            silent_s = round(now - self._silent_since, 3)
            text = f"{self.name} gives frames again after {silent_s:.1f} seconds."
            self._events.add("camera-back", "info", text, silent_s=silent_s, attempts=self._attempts)
            self._is_silent = self._is_lost = False
        self._silent_since = now
        if reader is not None:
            self.frames_per_second = reader.frames_per_second or self.frames_per_second
            if now - reader.opened_at > _STEADY_SECONDS:
                self._attempts = 0
        height, width = frame.image_hwc_u8.shape[:2]
        if self.size_hw not in (None, (height, width)):
            text = f"{self.name} changed its frames to {width}x{height} pixels."
            self._events.add("size-changed", "info", text, width=width, height=height)
        self.size_hw = (height, width)

    def _report_corrupt(self) -> None:
        now, count = perf_counter(), self.losses.corrupt - self._reported_corrupt
        if count and now >= self._corrupt_event_at:
            self._reported_corrupt += count
            self._corrupt_event_at = now + _SECONDS_BETWEEN_CORRUPT_EVENTS
            text = f"{count} frame(s) of {self.name} came damaged or not at all, and were skipped."
            self._events.add("frame-corrupt", "warning", text, count=count)


class _Reader(Thread):
    """Opens a connection, reads from it until it ends or is left, and closes it."""

    def __init__(self, source: LiveSource, connect: Connect, connection: Connection | None) -> None:
        super().__init__(name="jetseg-reader", daemon=True)
        self.left = Event()
        self.ended = Event()
        self.reason = ""
        self.opened_at = self.heard_at = perf_counter()
        self.frames_per_second: float | None = None
        self._source = source
        self._connect = connect
        self._connection = connection

    def run(self) -> None:
        """Keeps every error as the reason, for the thread that owns the source to report."""
        try:
            connection = self._connection or self._connect()
            try:
                self.frames_per_second = connection.frames_per_second
                self.opened_at = self.heard_at = perf_counter()
                self._read(connection)
            finally:
                connection.close()
        except JetsegError as error:
            self.reason = error.found.rstrip(".")
        except Exception as error:  # a driver's own kind, as cv2.error
            self.reason = f"{self._source.name} failed ({type(error).__name__}: {error})"
        finally:
            self.ended.set()
            self._source.wake()

    def _read(self, connection: Connection) -> None:
        while not self.left.is_set():
            grab = connection.read()
            if grab is None:
                self.reason = f"{self._source.name} gives no more frames"
                return
            self._source.deliver(self, grab)
