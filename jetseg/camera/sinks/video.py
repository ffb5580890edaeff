"""The overlay as one MP4 file."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from jetseg.camera.contract import FrameResult, Sink, SinkContext, SourceFrame
from jetseg.camera.sinks.encoding import USUAL_FRAMES_PER_SECOND, TimedEncoder, even_size
from jetseg.errors import ConfigError, StorageError, import_optional
from jetseg.storage import atomic_path, storage_error

_LOG = logging.getLogger(__name__)

_LEAST_FREE_BYTES = 1 << 20
_FRAMES_BETWEEN_CHECKS = 32


@contextmanager
def open_video_sink(path: Path, frames_per_second: float | None = None, *, live: bool = False) -> Iterator[VideoSink]:
    """Gives a sink that writes the overlay as an MP4 video, which gets its name only when it is whole.

    If the run fails, what was recorded until then is kept as `<name>.partial.mp4`; an earlier `<name>.mp4`
    stays as it was. Without any frame nothing is written.

    Args:
        path: The file to make, ending in .mp4.
        frames_per_second: The source's rate, for frames that tell no time of their own.
        live: Frames are shown at the times at which they were captured; else as the source's video shows them.

    Raises:
        ConfigError: The name ends otherwise.
        MissingDependencyError: PyAV is not installed.
        StorageError: The video did not get onto the disk whole.
    """
    if path.suffix.lower() != ".mp4":
        raise ConfigError(f"{path} is not an .mp4 file.", "Give a name that ends in .mp4.")
    with ExitStack() as stack:
        sink = VideoSink(path, frames_per_second, stack, live=live)
        try:
            yield sink
        except StorageError:
            with suppress(StorageError):
                sink.release()
            raise
        except BaseException:
            with suppress(StorageError):
                sink.release()
            sink.keep_part()
            raise
        sink.release()
        sink.check_whole()


class VideoSink:
    """Writes the overlay into a video under a temporary name; see `open_video_sink`.

    Each frame keeps its time, whatever the rate, so that the video lasts as long as what was segmented. Not every
    failed write is reported, so free space is checked while writing, and the finished file is opened again and its
    frames are counted.
    """

    form = "video:FILE.mp4"
    wants_overlay = True

    @staticmethod
    def open(place: str, context: SinkContext) -> AbstractContextManager[Sink]:
        """Opens a video file; see `jetseg.camera.contract.SinkKind`."""
        return open_video_sink(Path(place), context.frames_per_second, live=context.live)

    def __init__(self, path: Path, frames_per_second: float | None, stack: ExitStack, *, live: bool) -> None:
        self._av = import_optional("av", "av", "record", "writes video files")
        self.path = path
        self.frames = 0
        self._period = 1 / (frames_per_second or USUAL_FRAMES_PER_SECOND)
        self._live = live
        self._stack = stack
        self._temporary: Path | None = None
        self._container: Any = None
        self._encoder: TimedEncoder | None = None
        self._began = 0.0

    def write(self, result: FrameResult) -> None:
        """Adds a frame; one of another size than the first is resized to it.

        Raises:
            StorageError: The disk is full or the place is not writable.
        """
        if result.overlay_hwc_u8 is not None:
            self.add(result.overlay_hwc_u8, result.frame)

    def add(self, picture: npt.NDArray[np.uint8], frame: SourceFrame) -> None:
        """Adds a picture, which is shown as long as the frame that it is of; see `write`."""
        moment = self._moment(frame)
        with self._storage_errors():
            if self._encoder is None:
                self._encoder, self._began = self._open(picture), moment
            if self.frames % _FRAMES_BETWEEN_CHECKS == 0:
                self._check_space()
            if even_size(picture) != self._encoder.size:
                picture = np.asarray(cv2.resize(picture, self._encoder.size), dtype=np.uint8)
            self._encoder.add(picture, moment - self._began, frame.shown_for or self._period)
        self.frames += 1

    def release(self) -> None:
        """Writes the video's index and closes the file; may be called twice.

        Raises:
            StorageError: They did not get onto the disk.
        """
        encoder, self._encoder = self._encoder, None
        container, self._container = self._container, None
        with self._storage_errors():
            try:
                if encoder is not None:
                    encoder.finish()
            finally:
                if container is not None:
                    container.close()

    def keep_part(self) -> None:
        """Renames what was recorded so far to `<name>.partial.mp4`."""
        if self._temporary is not None and self.frames:
            part = self.path.with_suffix(".partial.mp4")
            self._temporary.replace(part)
            _LOG.warning("What was recorded until the error is in %s.", part)

    def check_whole(self) -> None:
        """Opens the finished file and counts its frames.

        Raises:
            StorageError: It cannot be opened, or frames are missing.
        """
        if not self.frames:
            return
        with self._storage_errors(), self._av.open(str(self._temporary)) as finished:
            found = sum(packet.size > 0 for packet in finished.demux(finished.streams.video[0]))
        if found != self.frames:
            raise storage_error(self.path, OSError(f"{found} of {self.frames} frames arrived"))

    def _moment(self, frame: SourceFrame) -> float:
        """Returns when a frame is shown, in seconds; differences count."""
        if self._live:
            return frame.captured_at
        return self.frames * self._period if frame.shown_at is None else frame.shown_at

    def _open(self, picture: npt.NDArray[np.uint8]) -> TimedEncoder:
        self._temporary = self._stack.enter_context(atomic_path(self.path))
        self._check_space()
        self._container = self._av.open(str(self._temporary), "w", format="mp4")
        return TimedEncoder(self._av, self._container, picture)

    @contextmanager
    def _storage_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, self._av.error.FFmpegError) as error:
            raise storage_error(self.path, error if isinstance(error, OSError) else OSError(str(error))) from error

    def _check_space(self) -> None:
        if shutil.disk_usage(self.path.parent).free < _LEAST_FREE_BYTES:
            raise storage_error(self.path, OSError("no space is left on the device"))
