"""Encodes pictures as video, each at its own time."""

from __future__ import annotations

from fractions import Fraction
from types import ModuleType
from typing import Any

import cv2

from jetseg.preprocess import FrameU8

CLOCK = 90_000
"""Ticks per second of the video's time base, as MPEG uses."""
USUAL_FRAMES_PER_SECOND = 25.0
_KEY_FRAME_SECONDS = 1.0
_ENCODERS: tuple[tuple[str, dict[str, str]], ...] = (
    ("libx264", {"preset": "ultrafast", "crf": "26", "tune": "zerolatency"}),
    ("mpeg4", {"qscale": "5"}),
)


class TimedEncoder:
    """Writes pictures of one size into a container, with a key frame each second.

    Args:
        av: PyAV.
        container: Opened for writing; the caller closes it after `finish`.
        picture: Whose size all pictures have.
    """

    def __init__(self, av: ModuleType, container: Any, picture: FrameU8) -> None:  # noqa: ANN401 - PyAV is optional
        self._av = av
        self._container = container
        self.size = even_size(picture)
        self._last_tick = -1
        self._next_key = 0.0
        self._ticks_shown: int | None = None
        encoder, options = next(known for known in _ENCODERS if known[0] in av.codecs_available)
        stream = container.add_stream(encoder, rate=round(USUAL_FRAMES_PER_SECOND), options=options)
        stream.width, stream.height = self.size
        stream.pix_fmt = "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, CLOCK)
        # one thread: encoder threads would each hold back frames, and take the engine's cores
        stream.codec_context.thread_count = 1
        self._stream = stream

    def add(self, picture: FrameU8, seconds: float, shown_for: float | None = None) -> None:
        """Adds a picture.

        Args:
            picture: BGR; an odd last row or column, which the usual pixel format cannot hold, is left out.
            seconds: When it is shown, since the first one; at least a tick later than the one before.
            shown_for: How long it is shown if nothing follows.
        """
        width, height = self.size
        planes = cv2.cvtColor(picture[:height, :width], cv2.COLOR_BGR2YUV_I420)
        frame = self._av.VideoFrame.from_ndarray(planes, format="yuv420p")
        tick = max(round(seconds * CLOCK), self._last_tick + 1)
        frame.pts, frame.time_base, self._last_tick = tick, Fraction(1, CLOCK), tick
        if seconds >= self._next_key:
            frame.pict_type = self._av.video.frame.PictureType.I
            self._next_key = seconds + _KEY_FRAME_SECONDS
        self._ticks_shown = None if shown_for is None else max(1, round(shown_for * CLOCK))
        self._mux(frame)

    def finish(self) -> None:
        """Writes what the encoder holds back."""
        self._mux(None)

    def _mux(self, frame: Any) -> None:  # noqa: ANN401 - PyAV is optional
        for packet in self._stream.encode(frame):
            if self._ticks_shown is not None:
                packet.duration = self._ticks_shown
            self._container.mux(packet)


def even_size(picture: FrameU8) -> tuple[int, int]:
    """Returns width and height without an odd last column or row."""
    return picture.shape[1] // 2 * 2, picture.shape[0] // 2 * 2
