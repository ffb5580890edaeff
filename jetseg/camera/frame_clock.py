"""Dates the frames of a live stream, so that one that waited in a buffer is not taken for a fresh one."""

from __future__ import annotations

from collections import deque
from statistics import median

_REMEMBERED = 151
_LEAST_WAIT, _MOST_WAIT = 0.3, 3.0
"""A wait between these multiples of the usual interval is that of a camera which is on time."""
_LONGEST_STEP_SECONDS = 10.0
_LEAST_STEPS = 15
_FRAMES_HELD = 4
_CLOCK_DRIFT = 1e-3
"""How much faster a camera's clock may run than ours; real ones differ by a tenth of that."""


class FrameClock:
    """Tells when each frame of a connection was captured, as far as this side can know.

    A frame that was waited for about as long as usual has just come from the camera, and sets the clock: its
    timestamp is now. One that was there at once, or came after a pause, may be older: its age is read off its
    timestamp. Cameras whose timestamps stand still, jump or run at a wrong rate are dated by arrival.

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
        self._intervals: deque[float] = deque(maxlen=_REMEMBERED)
        self._steps: deque[float] = deque(maxlen=_REMEMBERED)
        self._arrived_at = 0.0
        self._timestamp: float | None = None
        self._offset = 0.0
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
        usual = median(self._intervals) if self._intervals else self._nominal
        # a decoder may hold the last frame from before the pause, and give it with the first one after it
        self._since_pause = 0 if waited > _MOST_WAIT * usual else self._since_pause + 1
        self.restarted = step is not None and step < 0 and self._since_pause <= _FRAMES_HELD
        if step is None or not 0 < step < _LONGEST_STEP_SECONDS:
            self._offset = arrived_at - timestamp
            return arrived_at
        self.missing = self._missing_in(step)
        self._steps.append(step)
        self._intervals.append(interval)
        on_time = _LEAST_WAIT * usual <= waited <= _MOST_WAIT * usual
        late = arrived_at - timestamp - self._offset
        if on_time or late <= 0:
            self._offset = arrived_at - timestamp
            return arrived_at
        self._offset += min(late, _CLOCK_DRIFT * step)
        return arrived_at - late

    def _missing_in(self, step: float) -> int:
        if len(self._steps) < _LEAST_STEPS:
            return 0
        return max(0, round(step / median(self._steps)) - 1)
