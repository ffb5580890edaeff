"""A recording in segments that stay playable when the process or the power ends in mid-frame."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from jetseg.camera.contract import FrameResult, Sink, SinkContext
from jetseg.camera.sinks.background import Output, in_background
from jetseg.camera.sinks.encoding import TimedEncoder, even_size
from jetseg.camera.sinks.segment_folder import SegmentFolder, bytes_of
from jetseg.errors import import_optional
from jetseg.locking import hold, is_at, taken_if_abandoned
from jetseg.monitor.events import EventLog
from jetseg.preprocess import FrameU8
from jetseg.storage import make_folder, storage_error, sync_folder

if TYPE_CHECKING:
    from io import FileIO

# A fragment begins at each key frame and needs nothing that comes after it.
_FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}


class SegmentedRecording(Output):
    """Writes the overlay as fragmented MP4 files of a minute each; an `Output`.

    Every second of video is a fragment that is whole in itself and is handed to the system at once, so that
    `kill -9` costs the last second at most. Frames carry their capture time, or that at which a video shows them: the
    recording plays in real time however many frames were dropped. Segments are numbered, over all runs, because a
    clock may jump; their names hold the time as well. Deleted while it is recorded, a recording goes on in a new
    segment, in a new folder if need be.

    Args:
        folder: Where the segments go; it is made if it does not exist.
        segment_seconds: Length of a segment.
        limit_bytes: The oldest segments in the folder are deleted beyond this; None keeps all.
        events: Gets "recording-deleted".

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
        limit_bytes = bytes_of(limit_gb)
        recording = SegmentedRecording(Path(place), segment_seconds, limit_bytes, context.events)
        return in_background(recording, context.events, live=context.live)

    def __init__(
        self,
        folder: Path,
        segment_seconds: float = 60.0,
        limit_bytes: int | None = None,
        events: EventLog | None = None,
    ) -> None:
        self._av = import_optional("av", "av", "record", "records video in segments")
        self._folder = folder
        self._segments = SegmentFolder(folder, ".mp4", limit_bytes)
        self._segment_seconds = segment_seconds
        self._events = events or EventLog()
        self._segment: _Segment | None = None
        try:
            make_folder(folder)
            for newest in self._segments.paths()[-1:]:
                with taken_if_abandoned(newest) as abandoned:
                    if abandoned and not _holds_pictures(newest):
                        newest.unlink()  # a run was killed in its first second
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
        if self._segment is not None and not self._segment.is_there():
            self._give_up(self._segment)
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

    def _give_up(self, deleted: _Segment) -> None:
        self._segment = None
        with suppress(OSError):
            deleted.close()
        text = f"{deleted.path} was deleted while it was recorded; the recording goes on in a new segment."
        self._events.add("recording-deleted", "warning", text)

    def _begin(self, picture: FrameU8, moment: float) -> _Segment:
        return _Segment(self._av, self._segments.next_path(), picture, moment)


def _holds_pictures(path: Path) -> bool:
    """Tells whether a segment holds a fragment that is whole."""
    with path.open("rb") as file:
        end = os.fstat(file.fileno()).st_size
        while len(head := file.read(8)) == 8:
            size = int.from_bytes(head[:4], "big")
            if size < len(head):
                return True  # a box of another form, which FFmpeg writes only for what is large
            if file.seek(size - len(head), os.SEEK_CUR) > end:
                return False
            if head[4:] == b"mdat":
                return True
    return False


class _Segment:
    """One file under way."""

    def __init__(self, av: ModuleType, path: Path, picture: FrameU8, moment: float) -> None:
        self.path = path
        self._began = moment
        # unbuffered: what FFmpeg hands over is the system's, and survives the process
        self._file: FileIO = path.open("xb", buffering=0)
        hold(self._file.fileno())
        try:
            self._container = av.open(self._file, "w", format="mp4", container_options=_FRAGMENTED)
            self._encoder = TimedEncoder(av, self._container, picture)
        except BaseException:
            self._file.close()
            path.unlink(missing_ok=True)
            raise

    def takes(self, picture: FrameU8, moment: float, most_seconds: float) -> bool:
        return even_size(picture) == self._encoder.size and moment - self._began < most_seconds

    def is_there(self) -> bool:
        return is_at(self._file.fileno(), self.path)

    def add(self, picture: FrameU8, moment: float) -> None:
        self._encoder.add(picture, moment - self._began)

    def close(self) -> None:
        try:
            self._encoder.finish()
            self._container.close()
            os.fsync(self._file.fileno())
            sync_folder(self.path.parent)
        finally:
            self._file.close()
