"""A recording in segments that stay playable when the process or the power ends in mid-frame."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections import deque
from contextlib import AbstractContextManager
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import cv2

from jetseg.camera.contract import FrameResult, Sink, SinkContext
from jetseg.camera.sinks.background import Output, in_background
from jetseg.errors import import_optional
from jetseg.preprocess import FrameU8
from jetseg.storage import storage_error

if TYPE_CHECKING:
    from io import FileIO

_GIGABYTE = 1_000_000_000
_CLOCK = 90_000
"""Ticks per second of the video's time base, as MPEG uses."""
_KEY_FRAME_SECONDS = 1.0
_LEAST_FREE_BYTES = 64 << 20
"""Left to the rest of the vehicle."""
_USUAL_FRAMES_PER_SECOND = 25.0
# A fragment begins at each key frame and needs nothing that comes after it.
_FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
_ENCODERS: tuple[tuple[str, dict[str, str]], ...] = (
    ("libx264", {"preset": "ultrafast", "crf": "26", "tune": "zerolatency"}),
    ("mpeg4", {"qscale": "5"}),
)


class SegmentedRecording(Output):
    """Writes the overlay as fragmented MP4 files of a minute each; an `Output`.

    Every second of video is a fragment that is whole in itself and is handed to the system at once, so that
    `kill -9` costs the last second at most. Frames carry their capture time: the video plays in real time
    however many frames were dropped. Runs are told apart by their start in the files' names.

    Args:
        folder: Where the segments go; it is made if it does not exist.
        segment_seconds: Length of a segment.
        limit_bytes: The oldest segments in the folder are deleted beyond this; None keeps all.

    Raises:
        MissingDependencyError: PyAV is not installed.
        StorageError: The folder cannot be written to.
    """

    form = "segments:DIR"
    kind = "recording"
    wants_overlay = True

    @staticmethod
    def open(
        place: str, context: SinkContext, segment_seconds: float = 60.0, limit_gb: float | None = None
    ) -> AbstractContextManager[Sink]:
        """Opens a recording that writes in the background; see `jetseg.camera.contract.SinkKind`."""
        limit_bytes = None if limit_gb is None else int(limit_gb * _GIGABYTE)
        recording = SegmentedRecording(Path(place), segment_seconds, limit_bytes)
        return in_background(recording, context.events, live=context.live)

    def __init__(self, folder: Path, segment_seconds: float = 60.0, limit_bytes: int | None = None) -> None:
        self._av = import_optional("av", "av", "record", "records video in segments")
        self._folder = folder
        self._segment_seconds = segment_seconds
        self._limit_bytes = limit_bytes
        self._segment: _Segment | None = None
        self._earlier: deque[Path] = deque()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._earlier.extend(sorted(folder.glob("segment-*.mp4")))
        except OSError as error:
            raise storage_error(folder, error) from error

    def write(self, result: FrameResult) -> None:
        """Adds a frame; one of another size than those before begins a new segment.

        Raises:
            StorageError: The disk is full or read-only.
        """
        picture = result.overlay_hwc_u8
        if picture is None:
            return
        moment = result.frame.captured_at
        if self._segment is not None and not self._segment.takes(picture, moment, self._segment_seconds):
            self.close()
        try:
            if self._segment is None:
                self._segment = self._begin(picture, moment)
            self._segment.add(picture, moment)
        except OSError as error:
            raise storage_error(self._segment.path if self._segment else self._folder, error) from error

    def close(self) -> None:
        """Ends the present segment.

        Raises:
            StorageError: Its last second did not get onto the disk.
        """
        segment, self._segment = self._segment, None
        if segment is None:
            return
        try:
            segment.close()
        except OSError as error:
            raise storage_error(segment.path, error) from error

    def _begin(self, picture: FrameU8, moment: float) -> _Segment:
        if self._limit_bytes is not None:
            self._delete_oldest(self._limit_bytes)
        if shutil.disk_usage(self._folder).free < _LEAST_FREE_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        started = time.time()
        name = time.strftime("segment-%Y%m%dT%H%M%S", time.gmtime(started)) + f".{int(started * 1000) % 1000:03d}Z.mp4"
        path = self._folder / name
        segment = _Segment(self._av, path, picture, moment)
        self._earlier.append(path)
        return segment

    def _delete_oldest(self, limit_bytes: int) -> None:
        sizes = {path: path.stat().st_size for path in self._earlier if path.exists()}
        total = sum(sizes.values())
        while self._earlier and total > limit_bytes:
            oldest = self._earlier.popleft()
            total -= sizes.get(oldest, 0)
            oldest.unlink(missing_ok=True)


class _Segment:
    """One file under way."""

    def __init__(self, av: ModuleType, path: Path, picture: FrameU8, moment: float) -> None:
        self.path = path
        self._av = av
        self._began = moment
        self._size = _even_size(picture)
        self._last_tick = -1
        self._next_key = 0.0
        # unbuffered: what FFmpeg hands over is the system's, and survives the process
        self._file: FileIO = path.open("xb", buffering=0)
        try:
            self._container = av.open(self._file, "w", format="mp4", container_options=_FRAGMENTED)
            self._stream = self._new_stream()
        except BaseException:
            self._file.close()
            path.unlink(missing_ok=True)
            raise

    def takes(self, picture: FrameU8, moment: float, most_seconds: float) -> bool:
        return _even_size(picture) == self._size and moment - self._began < most_seconds

    def add(self, picture: FrameU8, moment: float) -> None:
        width, height = self._size
        planes = cv2.cvtColor(picture[:height, :width], cv2.COLOR_BGR2YUV_I420)
        frame = self._av.VideoFrame.from_ndarray(planes, format="yuv420p")
        seconds = moment - self._began
        tick = max(round(seconds * _CLOCK), self._last_tick + 1)
        frame.pts, frame.time_base, self._last_tick = tick, Fraction(1, _CLOCK), tick
        if seconds >= self._next_key:
            frame.pict_type = self._av.video.frame.PictureType.I
            self._next_key = seconds + _KEY_FRAME_SECONDS
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        try:
            self._container.mux(self._stream.encode(None))
            self._container.close()
        finally:
            self._file.close()

    def _new_stream(self) -> Any:  # noqa: ANN401 - PyAV is optional
        encoder, options = next(known for known in _ENCODERS if known[0] in self._av.codecs_available)
        stream = self._container.add_stream(encoder, rate=round(_USUAL_FRAMES_PER_SECOND), options=options)
        stream.width, stream.height = self._size
        stream.pix_fmt = "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, _CLOCK)
        # one thread: encoder threads would each hold back frames, and take the engine's cores
        stream.codec_context.thread_count = 1
        return stream


def _even_size(picture: FrameU8) -> tuple[int, int]:
    """Returns width and height without an odd last column or row, which the usual pixel format cannot hold."""
    return picture.shape[1] // 2 * 2, picture.shape[0] // 2 * 2
