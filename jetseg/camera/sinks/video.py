"""The overlay as one MP4 file."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from jetseg.camera.contract import FrameResult, Sink, SinkContext
from jetseg.errors import ConfigError, DeviceError, StorageError
from jetseg.storage import atomic_path, storage_error

_LOG = logging.getLogger(__name__)

_LEAST_FREE_BYTES = 1 << 20
_FRAMES_BETWEEN_CHECKS = 32
_USUAL_FRAMES_PER_SECOND = 25.0


@contextmanager
def open_video_sink(path: Path, frames_per_second: float | None = None, *, live: bool = False) -> Iterator[VideoSink]:
    """Gives a sink that writes the overlay as an MP4 video, which gets its name only when it is whole.

    If the run fails, what was recorded until then is kept as `<name>.partial.mp4`; an earlier `<name>.mp4`
    stays as it was. Without any frame nothing is written.

    Args:
        path: The file to make, ending in .mp4.
        frames_per_second: The source's rate.
        live: Frames that the engine cannot keep up with will be missing, so the video plays no faster than
            the engine runs.

    Raises:
        ConfigError: The name ends otherwise.
        StorageError: The video did not get onto the disk whole.
    """
    if path.suffix.lower() != ".mp4":
        raise ConfigError(f"{path} is not an .mp4 file.", "Give a name that ends in .mp4.")
    with ExitStack() as stack:
        sink = VideoSink(path, frames_per_second, stack, live=live)
        try:
            yield sink
        except StorageError:
            sink.release()
            raise
        except BaseException:
            sink.release()
            sink.keep_part()
            raise
        sink.release()
        sink.check_whole()


class VideoSink:
    """Writes the overlay into a video under a temporary name; see `open_video_sink`.

    OpenCV's writer reports no failed write, so free space is checked while writing, and the finished file is
    opened again and its frames are counted.
    """

    form = "video:FILE.mp4"
    wants_overlay = True

    @staticmethod
    def open(place: str, context: SinkContext) -> AbstractContextManager[Sink]:
        """Opens a video file; see `jetseg.camera.contract.SinkKind`."""
        return open_video_sink(Path(place), context.frames_per_second, live=context.live)

    def __init__(self, path: Path, frames_per_second: float | None, stack: ExitStack, *, live: bool) -> None:
        self.path = path
        self.frames = 0
        self._frames_per_second = frames_per_second or _USUAL_FRAMES_PER_SECOND
        self._live = live
        self._stack = stack
        self._temporary: Path | None = None
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)

    def write(self, result: FrameResult) -> None:
        """Adds a frame; one of another size than the first is resized to it.

        Raises:
            StorageError: The disk is full or the place is not writable.
            DeviceError: This OpenCV cannot write MP4.
        """
        picture = result.overlay_hwc_u8
        if picture is None:
            return
        if self._writer is None:
            engine = result.statistics.engine.frames_per_second
            limit = engine if self._live and engine else self._frames_per_second
            self._writer = self._open(picture, min(self._frames_per_second, limit))
        if self.frames % _FRAMES_BETWEEN_CHECKS == 0:
            self._check_space()
        fits = (picture.shape[1], picture.shape[0]) == self._size
        self._writer.write(picture if fits else cv2.resize(picture, self._size))
        self.frames += 1

    def release(self) -> None:
        """Writes the video's index and closes the file."""
        if self._writer is not None:
            self._writer.release()

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
        capture = cv2.VideoCapture(str(self._temporary))
        found = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
        capture.release()
        if found != self.frames:
            raise storage_error(self.path, OSError(f"{found} of {self.frames} frames arrived"))

    def _open(self, picture: npt.NDArray[np.uint8], frames_per_second: float) -> cv2.VideoWriter:
        self._temporary = self._stack.enter_context(atomic_path(self.path))
        self._check_space()
        self._size = (picture.shape[1], picture.shape[0])
        codec = cv2.VideoWriter.fourcc(*"mp4v")
        writer = cv2.VideoWriter(str(self._temporary), codec, frames_per_second, self._size)
        if not writer.isOpened():
            raise DeviceError(
                f"This OpenCV ({cv2.__version__}) cannot write an MP4 video of {self._size[0]}x{self._size[1]} pixels.",
                "Use a build with FFmpeg or GStreamer, such as the wheel opencv-python-headless.",
            )
        return writer

    def _check_space(self) -> None:
        if shutil.disk_usage(self.path.parent).free < _LEAST_FREE_BYTES:
            raise storage_error(self.path, OSError("no space is left on the device"))
