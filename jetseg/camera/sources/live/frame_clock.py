"""Dates the frames of a live stream, so that one that waited in a buffer is not taken for a fresh one."""

from __future__ import annotations

from collections import deque
from statistics import median

_REMEMBERED = 301
_WINDOW_SECONDS = 3.0
_LONGEST_PAUSE = 3.0
"""A longer wait than so many usual intervals is a pause."""
_RATE_TOLERANCE = 0.15
_SPAN_FRAMES = 10
_LEAST_SPANS = 8
_SPANS = _REMEMBERED // _SPAN_FRAMES
_LONGEST_STEP_SECONDS = 10.0
_LEAST_STEPS = 15
_LEAST_INTERVAL = 0.5
"""Frames that come quicker than this, by their timestamps, are a burst and tell nothing of the camera's clock."""
_FRAMES_HELD = 4


class FrameClock:
    """Tells when each frame of a connection was captured, as far as this side can know.

    The frame that took the shortest way, among those of the last three seconds of the stream, sets the clock.
    Another one is late by as much as it lags behind its timestamp, be it because it waited in a buffer or because
    the camera held it. Cameras whose timestamps stand still, jump or run slow are dated by arrival.

    Args:
        frames_per_second: The nominal rate; None if it is not known.

    >>> clock = FrameClock(10.0)
    >>> for number in range(20):
    ...     captured_at = clock.date(number / 10, waited=0.1, timestamp=number / 10)
    >>> clock.date(3.5, waited=1.5, timestamp=2.0)  # a pause of a second and a half, and then the old frame
    2.0
    """

    def __init__(self, frames_per_second: float | None) -> None:
        self.missing = 0
        """Frames that the timestamps show to be missing just before the last one."""
        self.restarted = False
        """The timestamps began anew soon after a pause, and so did the camera."""
        self._nominal = 1 / (frames_per_second or 30.0)
        self._steps: deque[float] = deque(maxlen=_REMEMBERED)
        self._spans: deque[tuple[float, float]] = deque(maxlen=_SPANS)
        self._span_began = 0.0, 0.0
        self._span_frames = 0
        self._offsets: deque[float] = deque()
        self._arrived_at = 0.0
        self._captured_at = 0.0
        self._timestamp: float | None = None
        self._since_pause = _FRAMES_HELD

    def date(self, arrived_at: float, waited: float, timestamp: float) -> float:
        """Returns when a frame was captured.

        Args:
            arrived_at: When it was handed over, in `perf_counter` seconds.
            waited: How long it was waited for, in seconds.
            timestamp: Its own time, in seconds of the stream's clock.
        """
        self.missing = 0
        step = None if self._timestamp is None else timestamp - self._timestamp
        interval = arrived_at - self._arrived_at
        self._arrived_at, self._timestamp = arrived_at, timestamp
        usual = self._usual_interval()
        # a decoder may hold the last frame from before the pause, and give it with the first one after it
        self._since_pause = 0 if waited > _LONGEST_PAUSE * usual else self._since_pause + 1
        self.restarted = step is not None and step < 0 and self._since_pause <= _FRAMES_HELD
        if step is None or not 0 < step < _LONGEST_STEP_SECONDS:
            self._begin_span(arrived_at, timestamp)
            self._offsets.clear()
            self._offsets.append(arrived_at - timestamp)
            self._captured_at = arrived_at
            return arrived_at
        self.missing = self._missing_in(step)
        self._steps.append(step)
        self._span_frames += 1
        if self._span_frames >= _SPAN_FRAMES and interval >= _LEAST_INTERVAL * step:
            self._end_span(arrived_at, timestamp)
        late = self._lateness(arrived_at - timestamp, usual) if self._keeps_up() else 0.0
        self._captured_at = max(self._captured_at, arrived_at - late)
        return self._captured_at

    def _usual_interval(self) -> float:
        return median(self._steps) * self._rate() if self._steps else self._nominal

    def _begin_span(self, arrived_at: float, timestamp: float) -> None:
        self._span_began, self._span_frames = (arrived_at, timestamp), 0

    def _end_span(self, arrived_at: float, timestamp: float) -> None:
        """Ends a span of frames at one that was waited for, as its first one was: frames may come in bunches."""
        began_at, began_timestamp = self._span_began
        self._spans.append((arrived_at - began_at, timestamp - began_timestamp))
        self._begin_span(arrived_at, timestamp)

    def _lateness(self, offset: float, usual: float) -> float:
        """Compares with the last frames: counted, because a pause must not push the good ones out."""
        self._offsets.append(offset)
        while len(self._offsets) > max(_LEAST_STEPS, _WINDOW_SECONDS / max(usual, 1e-3)):
            self._offsets.popleft()
        return offset - min(self._offsets)

    def _keeps_up(self) -> bool:
        """Tells whether timestamps are not slower than time; faster ones, or a backlog, call no frame late."""
        return self._rate() <= 1 + _RATE_TOLERANCE

    def _rate(self) -> float:
        """Returns how many seconds pass here in a second of the timestamps; one until it is known.

        From the middle half of the spans: pauses lie outside. Their sums, because what makes one span long by chance
        makes its neighbor short.
        """
        count, cut = len(self._spans), len(self._spans) // 4
        if count < _LEAST_SPANS:
            return 1.0
        usual = sorted(self._spans, key=lambda span: span[0] / span[1])[cut : count - cut]
        return sum(passed for passed, _ in usual) / sum(stamped for _, stamped in usual)

    def _missing_in(self, step: float) -> int:
        if len(self._steps) < _LEAST_STEPS:
            return 0
        return max(0, round(step / median(self._steps)) - 1)
