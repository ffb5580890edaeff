"""Cameras, streams and video files through OpenCV."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import cv2
import numpy as np

from jetseg.camera.contract import SourceFrame
from jetseg.errors import DataError, DeviceError, JetsegError
from jetseg.preprocess import FrameU8
from jetseg.progress import console

# FFmpeg's own lines on stderr; OpenCV reads this only once, when FFmpeg is first used.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

_SILENT = 0
_TIMEOUT_MS = 5000
_BACKLOG_SECONDS = 2.0


def _known(**properties: int) -> list[int]:
    """Returns those capture properties that this OpenCV has: a Jetson's own build is years older than the wheel."""
    known = {name: value for name, value in properties.items() if hasattr(cv2, name)}
    return [number for name, value in known.items() for number in (int(getattr(cv2, name)), value)]


# Decoder threads would each hold back a frame, which is age, and take the engine's cores.
_DECODER = _known(CAP_PROP_N_THREADS=1)
_STREAM = _known(CAP_PROP_OPEN_TIMEOUT_MSEC=_TIMEOUT_MS, CAP_PROP_READ_TIMEOUT_MSEC=_TIMEOUT_MS)


def open_camera(index: int) -> CaptureSource:
    """Opens a camera by its index (/dev/videoINDEX on Linux).

    Raises:
        DeviceError: There is no such camera, or it gives no frame.
    """
    linux = sys.platform == "linux"
    with _quiet_opencv():
        capture = cv2.VideoCapture(index, cv2.CAP_V4L2 if linux else cv2.CAP_ANY)
        # one waiting frame, where the driver lets us choose: a longer queue only ages them
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        delivers = capture.isOpened() and capture.grab()
    if not delivers:
        capture.release()
        raise _camera_error(index)
    return CaptureSource(capture, str(index), live=True, first=None)


def open_url(url: str) -> CaptureSource:
    """Opens a network stream (rtsp, http, udp, ...).

    A video file on a web server, which tells its length, is a file, and none of its frames is dropped.

    Raises:
        DeviceError: It does not answer, or holds no video.
    """
    with _quiet_opencv():
        capture = _open_stream(url, _STREAM + _DECODER)
        delivers = capture.isOpened() and capture.grab()
    if not delivers:
        capture.release()
        raise DeviceError(
            f"{url} could not be opened as a video, or sent nothing for {_TIMEOUT_MS // 1000} seconds.",
            "Check address, user name and password, the network, and that the camera is on.",
        )
    is_file = url.startswith("http") and capture.get(cv2.CAP_PROP_FRAME_COUNT) > 0
    first = np.asarray(capture.retrieve()[1], dtype=np.uint8) if is_file else None
    return CaptureSource(capture, url, live=not is_file, first=first)


def open_video(path: Path) -> CaptureSource:
    """Opens a video file.

    Raises:
        DataError: It is not a video, or none of its frames can be decoded.
    """
    with _quiet_opencv():
        capture = _open_stream(str(path), _DECODER)
        good, first = capture.read() if capture.isOpened() else (False, None)
        # FFmpeg plays any .txt file as terminal art
        is_text = capture.get(cv2.CAP_PROP_FOURCC) == cv2.VideoWriter.fourcc(*"ansi")
    if not good or first is None or is_text:
        capture.release()
        raise DataError(
            f"{path} is not a video that OpenCV {cv2.__version__} can decode: it is damaged, truncated or of "
            "another format.",
            "Copy it again, or convert it, for instance to H.264 in MP4.",
        )
    return CaptureSource(capture, str(path), live=False, first=np.asarray(first, dtype=np.uint8))


class CaptureSource:
    """Frames of a `cv2.VideoCapture`; see `jetseg.camera.contract.Source`.

    Args:
        capture: Opened and known to deliver.
        name: Of the camera, stream or file.
        live: A camera or stream.
        first: A frame that was read already and comes first.
    """

    split: str | None = None
    classes: tuple[str, ...] | None = None
    ignore_index: int | None = None

    def __init__(self, capture: cv2.VideoCapture, name: str, *, live: bool, first: FrameU8 | None) -> None:
        self.name = name
        self.live = live
        rate = capture.get(cv2.CAP_PROP_FPS)
        self.frames_per_second = float(rate) if 0 < rate < 1000 else None
        size = int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)), int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        self.size_hw = size if all(size) else None
        self._frame_count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self._capture = capture
        self._first = first
        self._sequence = 0
        self._has_backlog = live

    def read(self) -> SourceFrame | None:
        """Waits for the next frame; see `jetseg.camera.contract.Source.read`."""
        if self._has_backlog:
            self._skip_backlog()
        started = perf_counter()
        if self._first is not None:
            image, self._first = self._first, None
            return self._frame(image, started)
        if not self._capture.grab():
            self._check_end()
            return None
        captured_at = perf_counter() if self.live else started
        good, decoded = self._capture.retrieve()
        if not good:
            self._check_end()
            return None
        return self._frame(np.asarray(decoded, dtype=np.uint8), captured_at)

    def close(self) -> None:
        """Frees the device or file; may be called twice."""
        self._capture.release()

    def _skip_backlog(self) -> None:
        """Skips frames that queued up since opening: those that come at once instead of when they are due."""
        self._has_backlog = False
        at_once = 0.5 / (self.frames_per_second or 30.0)
        until = perf_counter() + _BACKLOG_SECONDS
        while (started := perf_counter()) < until and self._capture.grab():
            if perf_counter() - started > at_once:
                return

    def _frame(self, image: FrameU8, captured_at: float) -> SourceFrame:
        if image.ndim == 2:
            image = np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), dtype=np.uint8)
        sequence = self._sequence
        self._sequence += 1
        return SourceFrame(sequence, f"{sequence:06d}", captured_at, image)

    def _check_end(self) -> None:
        """Tells what ended: a camera or stream should not, and a file not before its time."""
        if self.live:
            raise DeviceError(
                f"{self.name} gives no more frames after {self._sequence}.",
                "Check that the camera is still connected and powered.",
            )
        if self._sequence < self._frame_count:
            console.print(
                f"{self.name} promises {self._frame_count} frames, and {self._sequence} could be decoded: "
                "it may be truncated.",
                style="yellow",
                markup=False,
                highlight=False,
            )


def _open_stream(place: str, parameters: list[int]) -> cv2.VideoCapture:
    """Opens with FFmpeg, else with GStreamer, which knows none of the parameters."""
    capture = cv2.VideoCapture(place, cv2.CAP_FFMPEG, parameters)
    return capture if capture.isOpened() else cv2.VideoCapture(place, cv2.CAP_GSTREAMER)


def _camera_error(index: int) -> JetsegError:
    device = Path(f"/dev/video{index}")
    present = sorted(
        (path for path in Path("/dev").glob("video*") if re.fullmatch(r"video\d+", path.name)),
        key=lambda path: int(path.name.removeprefix("video")),
    )
    there = ", ".join(str(path) for path in present) or "none"
    if sys.platform == "linux" and not device.exists():
        return DeviceError(
            f"There is no camera {index}: {device} does not exist; camera devices here: {there}.",
            f"Check the cable and the driver; in a container, pass the camera with --device {device}.",
        )
    return DeviceError(
        f"Camera {index} gives no frames; camera devices here: {there}.",
        "Check that no other program uses it, that you may read it (group video), and that it is a capture "
        "device: one camera often has several.",
    )


@contextmanager
def _quiet_opencv() -> Iterator[None]:
    """Keeps OpenCV and FFmpeg from writing to stderr while something is tried: the error says it better."""
    # OpenCV 4 has these functions at its top level, OpenCV 5 in a module
    logging: Any = getattr(cv2.utils, "logging", cv2)
    earlier = logging.getLogLevel()
    logging.setLogLevel(_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(earlier)
