"""A recording in segments that stay playable when the process or the power ends in mid-frame."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections import deque
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from jetseg.camera.contract import FrameResult, Sink, SinkContext
from jetseg.camera.sinks.background import Output, in_background
from jetseg.camera.sinks.encoding import TimedEncoder, even_size
from jetseg.errors import import_optional
from jetseg.preprocess import FrameU8
from jetseg.storage import storage_error

if TYPE_CHECKING:
    from io import FileIO

_GIGABYTE = 1_000_000_000
_LEAST_FREE_BYTES = 64 << 20
"""Left to the rest of the vehicle."""
# A fragment begins at each key frame and needs nothing that comes after it.
_FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}


class SegmentedRecording(Output):
    """Writes the overlay as fragmented MP4 files of a minute each; an `Output`.

    Every second of video is a fragment that is whole in itself and is handed to the system at once, so that
    `kill -9` costs the last second at most. Frames carry their capture time, or that at which a video shows them: the
    recording plays in real time however many frames were dropped. Runs are told apart by their start in the files'
    names.

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
        frame = result.frame
        moment = frame.captured_at if frame.shown_at is None else frame.shown_at
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
        self._began = moment
        # unbuffered: what FFmpeg hands over is the system's, and survives the process
        self._file: FileIO = path.open("xb", buffering=0)
        try:
            self._container = av.open(self._file, "w", format="mp4", container_options=_FRAGMENTED)
            self._encoder = TimedEncoder(av, self._container, picture)
        except BaseException:
            self._file.close()
            path.unlink(missing_ok=True)
            raise

    def takes(self, picture: FrameU8, moment: float, most_seconds: float) -> bool:
        return even_size(picture) == self._encoder.size and moment - self._began < most_seconds

    def add(self, picture: FrameU8, moment: float) -> None:
        self._encoder.add(picture, moment - self._began)

    def close(self) -> None:
        try:
            self._encoder.finish()
            self._container.close()
        finally:
            self._file.close()
