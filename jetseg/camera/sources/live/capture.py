"""One open connection to a camera or stream through OpenCV."""

from __future__ import annotations

import time
from time import perf_counter
from typing import Any

import cv2
import numpy as np

from jetseg.camera.sources.live.connection import Grab
from jetseg.camera.sources.live.frame_clock import FrameClock
from jetseg.camera.sources.opencv import nominal_rate
from jetseg.input_spec import FrameWindow
from jetseg.preprocess import FrameU8, window_frame

_BACKLOG_SECONDS = 2.0
_OLDEST_STAMP_SECONDS = 2.0
"""An older stamp of a driver is of another clock."""
_COUNTS_MONOTONIC = "CLOCK_MONOTONIC" in time.get_clock_info("perf_counter").implementation


class CaptureConnection:
    """One open connection to a camera; see `jetseg.camera.sources.live.connection.Connection`.

    Args:
        capture: Opened and known to deliver.
        is_stream: Frames that the timestamps show to be missing count as corrupt: a decoder skips what it
            cannot read without a word, and this is how it shows. And the connection ends when the camera was
            started anew, because OpenCV would go on with the size that it had before.
        window: Which values of gray frames of more than 8 bits become 0 to 255.
        is_stamped: Timestamps are of this machine's monotonic clock, as V4L2 gives them, where they can be: then they
            are the moment of capture.
    """

    def __init__(
        self,
        capture: cv2.VideoCapture,
        *,
        is_stream: bool = False,
        window: FrameWindow | None = None,
        is_stamped: bool = False,
    ) -> None:
        self._is_stamped = is_stamped and _COUNTS_MONOTONIC
        self._window = window
        self.frames_per_second = nominal_rate(capture)
        size = int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)), int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        self.size_hw = size if all(size) else None
        self._capture = capture
        self._is_stream = is_stream
        self._clock = FrameClock(self.frames_per_second)
        self._has_backlog = True

    @property
    def has_end(self) -> bool:
        """It tells its length, as a file on a web server does."""
        return self._capture.get(cv2.CAP_PROP_FRAME_COUNT) > 0

    def read(self) -> Grab | None:
        """Waits for the next frame; None if there are no more."""
        if self._has_backlog:
            self._skip_backlog()
        began = perf_counter()
        if not self._capture.grab():
            return None
        arrived_at = perf_counter()
        timestamp = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3
        captured_at = self._clock.date(arrived_at, arrived_at - began, timestamp)
        if self._is_stream and self._clock.restarted:
            return None
        missing = self._clock.missing if self._is_stream else 0
        is_capture = self._is_stamped and 0 < timestamp <= arrived_at < timestamp + _OLDEST_STAMP_SECONDS
        good, image = self._capture.retrieve()
        picture = _whole(image, self._window) if good else None
        return Grab(picture, timestamp if is_capture else captured_at, missing, dated_by_capture=is_capture)

    def close(self) -> None:
        """Frees the device; call it in the thread that reads."""
        self._capture.release()

    def _skip_backlog(self) -> None:
        """Skips frames that queued up since opening: those that come at once instead of when they are due."""
        self._has_backlog = False
        at_once = 0.5 / (self.frames_per_second or 30.0)
        until = perf_counter() + _BACKLOG_SECONDS
        while (started := perf_counter()) < until and self._capture.grab():
            if perf_counter() - started > at_once:
                return


def _whole(image: Any, window: FrameWindow | None) -> FrameU8 | None:  # noqa: ANN401 - whatever a driver gives
    """Returns the picture as height x width x 3; None if it is not one."""
    if image is None or not image.size:
        return None
    if image.dtype == np.uint16 and image.ndim == 2 and window is not None:
        return window_frame(image, window, "A frame")
    if image.dtype != np.uint8:
        return None
    if image.ndim == 2:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    return np.asarray(image, dtype=np.uint8) if image.shape[2:] == (3,) else None
