"""One open connection to an RTSP camera through PyAV, which tells the sender's clock: its RTCP sender reports."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from time import perf_counter
from typing import Any

import numpy as np

from jetseg.camera.sources.live.connection import Grab
from jetseg.camera.sources.live.frame_clock import FrameClock
from jetseg.errors import DeviceError, import_optional

_REFERENCE_TIME = struct.Struct("@q")
"""FFmpeg's AVProducerReferenceTime begins with the sender's time, in microseconds since 1970."""
_MOST_WAITING = 64
"""Frames that a decoder holds back at most."""
_BACKLOG_SECONDS = 2.0


class RtspConnection:
    """One open connection; see `jetseg.camera.sources.live.connection.Connection`.

    Each frame has the time at which its sender says it was captured, as soon as it has said so: a camera sends its
    first report within some seconds. Frames that the timestamps show to be missing count as corrupt, and the connection
    ends when the camera was started anew.

    Args:
        url: Of the stream.
        options: FFmpeg's.
        seconds: For opening and for each reading.

    Raises:
        DeviceError: It does not answer, or holds no video.
        MissingDependencyError: PyAV is not installed.
    """

    has_end = False

    def __init__(self, url: str, options: Mapping[str, str], seconds: float) -> None:
        av = import_optional("av", "av", "record", "reads RTSP with the sender's clock")
        self._errors: Any = av.error.FFmpegError
        self._damage: Any = av.error.InvalidDataError
        try:
            self._container = av.open(url, options=dict(options), timeout=seconds)
        except self._errors as error:
            raise DeviceError("The stream could not be opened.", "Check its address.") from error
        if not self._container.streams.video:
            self._container.close()
            raise DeviceError("The stream holds no video.", "Check its address.")
        stream = self._container.streams.video[0]
        stream.codec_context.thread_count = 1
        stream.codec_context.options = {"flags": "low_delay", "err_detect": "explode"}
        self._base = float(stream.time_base)
        rate = stream.average_rate or stream.guessed_rate
        self.frames_per_second = float(rate) if rate and 0 < rate < 1000 else None
        self.size_hw = (stream.height, stream.width) if stream.height else None
        self._packets: Iterator[Any] = self._container.demux(stream)
        self._clock = FrameClock(self.frames_per_second)
        self._sent_us: dict[int, int] = {}
        self._waiting: list[Grab] = []
        self._backlog_until: float | None = perf_counter() + _BACKLOG_SECONDS

    def read(self) -> Grab | None:
        """Waits for the next frame; None if there are no more."""
        while not self._waiting:
            began = perf_counter()
            try:
                packet = next(self._packets, None)
            except self._errors:
                return None
            arrived_at = perf_counter()
            if packet is None or not packet.size:  # the last one, which is empty
                return None
            self._note_clock(packet)
            self._decode(packet, arrived_at, arrived_at - began)
            if self._clock.restarted:
                return None
        return self._waiting.pop(0)

    def close(self) -> None:
        """Ends the connection."""
        self._container.close()

    def _note_clock(self, packet: Any) -> None:  # noqa: ANN401 - PyAV is optional
        if packet.has_sidedata("prft"):
            (self._sent_us[packet.pts],) = _REFERENCE_TIME.unpack_from(bytes(packet.get_sidedata("prft")))
            while len(self._sent_us) > _MOST_WAITING:
                del self._sent_us[next(iter(self._sent_us))]

    def _decode(self, packet: Any, arrived_at: float, waited: float) -> None:  # noqa: ANN401
        try:
            frames = [] if packet.is_corrupt else packet.decode()
            is_damaged = packet.is_corrupt
        except self._damage:
            frames, is_damaged = [], True
        if is_damaged:
            self._waiting.append(Grab(None, arrived_at))
        for frame in frames:
            captured_at = arrived_at
            if frame.pts is not None:  # before the first report a stream may tell no time
                captured_at = self._clock.date(arrived_at, waited, frame.pts * self._base)
            if self._is_backlog(arrived_at, waited):
                continue
            sent_us = self._sent_us.pop(frame.pts, None)
            image = np.asarray(frame.to_ndarray(format="bgr24"), dtype=np.uint8)
            sent_ns = None if sent_us is None else 1000 * sent_us
            self._waiting.append(Grab(image, captured_at, self._clock.missing, sent_ns=sent_ns))

    def _is_backlog(self, arrived_at: float, waited: float) -> bool:
        """Tells whether a frame queued up since opening: it came at once instead of when it was due."""
        if self._backlog_until is None or arrived_at > self._backlog_until:
            return False
        if waited > 0.5 / (self.frames_per_second or 30.0):
            self._backlog_until = None
            return False
        return True
