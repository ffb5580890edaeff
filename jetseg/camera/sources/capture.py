"""Cameras and streams through OpenCV: how each is opened, and one open connection to it."""

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

from jetseg.camera.sources.connection import Grab
from jetseg.camera.sources.frame_clock import FrameClock
from jetseg.camera.sources.gstreamer import (
    CsiCamera,
    csi_pipeline,
    has_gstreamer,
    has_hardware_decoder,
    stream_pipeline,
)
from jetseg.errors import DeviceError, JetsegError
from jetseg.preprocess import FrameU8

_TIMEOUT_SECONDS = 5
_BACKLOG_SECONDS = 2.0
_CREDENTIALS = re.compile(r"//[^/@]*@")
# FFmpeg's and OpenCV's own lines on stderr: errors and events say it better. OpenCV reads these once.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", str(_TIMEOUT_SECONDS))
_FFMPEG_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
# OpenCV's own default, and then: no buffer, and no second of frames to estimate a rate that the stream tells; no frame
# that is damaged, or drawn over a damaged one, where FFmpeg would rather show something
_LIVE_OPTIONS = "rtsp_transport;tcp|fflags;nobuffer+discardcorrupt|flags;low_delay|fpsprobesize;2|err_detect;explode"


def _silence_opencv() -> None:
    # OpenCV 4 has this function at its top level, OpenCV 5 in a module
    logging: Any = getattr(cv2.utils, "logging", cv2)
    logging.setLogLevel(0)


if "OPENCV_LOG_LEVEL" not in os.environ:
    _silence_opencv()


def _known(**properties: int) -> list[int]:
    """Returns those capture properties that this OpenCV has: a Jetson's own build is years older than the wheel."""
    known = {name: value for name, value in properties.items() if hasattr(cv2, name)}
    return [number for name, value in known.items() for number in (int(getattr(cv2, name)), value)]


# Decoder threads would each hold back a frame, which is age, and take the engine's cores.
DECODER = _known(CAP_PROP_N_THREADS=1)
_STREAM = _known(CAP_PROP_OPEN_TIMEOUT_MSEC=1000 * _TIMEOUT_SECONDS, CAP_PROP_READ_TIMEOUT_MSEC=1000 * _TIMEOUT_SECONDS)


def connect_camera(index: int) -> CaptureConnection:
    """Opens a camera by its index (/dev/videoINDEX on Linux).

    Raises:
        DeviceError: There is no such camera, or it gives no frame.
    """
    linux = sys.platform == "linux"
    capture = cv2.VideoCapture(index, cv2.CAP_V4L2 if linux else cv2.CAP_ANY)
    # one waiting frame, where the driver lets us choose: a longer queue only ages them
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    return CaptureConnection(_delivering(capture, _camera_error, index))


def connect_csi(camera: CsiCamera) -> CaptureConnection:
    """Opens a camera on a Jetson's CSI connector.

    Raises:
        DeviceError: OpenCV has no GStreamer, or the camera gives no frame.
    """
    if not has_gstreamer():
        raise DeviceError(
            f"csi:{camera.sensor} needs an OpenCV with GStreamer, and this one ({cv2.__version__}) was built without.",
            "Use the OpenCV that JetPack brings; a wheel from PyPI, if installed, hides it.",
        )
    capture = cv2.VideoCapture(csi_pipeline(camera), cv2.CAP_GSTREAMER)
    return CaptureConnection(_delivering(capture, _csi_error, camera.sensor))


def connect_stream(url: str) -> CaptureConnection:
    """Opens a network stream (rtsp, http, udp, ...), on a Jetson with its video decoder.

    Raises:
        DeviceError: It does not answer, or holds no video.
    """
    if url.startswith("rtsp") and has_hardware_decoder():
        capture = cv2.VideoCapture(stream_pipeline(url), cv2.CAP_GSTREAMER)
        if capture.isOpened() and capture.grab():
            return CaptureConnection(capture, is_stream=True)
        capture.release()
    with _live_options():
        capture = open_stream(url, _STREAM + DECODER)
    return CaptureConnection(_delivering(capture, _stream_error, url), is_stream=True)


def open_stream(place: str, parameters: list[int]) -> cv2.VideoCapture:
    """Opens a file or URL with FFmpeg, else with GStreamer, which knows none of the parameters."""
    capture = cv2.VideoCapture(place, cv2.CAP_FFMPEG, parameters)
    return capture if capture.isOpened() else cv2.VideoCapture(place, cv2.CAP_GSTREAMER)


def public_name(source: str) -> str:
    """Leaves user name and password out of an address, for logs, videos and pages.

    >>> public_name("rtsp://admin:secret@10.0.0.7/front")
    'rtsp://10.0.0.7/front'
    """
    return _CREDENTIALS.sub("//", source)


class CaptureConnection:
    """One open connection to a camera; see `jetseg.camera.sources.connection.Connection`.

    Args:
        capture: Opened and known to deliver.
        is_stream: Frames that the timestamps show to be missing count as corrupt: a decoder skips what it
            cannot read without a word, and this is how it shows. And the connection ends when the camera was
            started anew, because OpenCV would go on with the size that it had before.
    """

    def __init__(self, capture: cv2.VideoCapture, *, is_stream: bool = False) -> None:
        rate = capture.get(cv2.CAP_PROP_FPS)
        self.frames_per_second = float(rate) if 0 < rate < 1000 else None
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
        good, image = self._capture.retrieve()
        return Grab(_whole(image) if good else None, captured_at, missing)

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


def _whole(image: Any) -> FrameU8 | None:  # noqa: ANN401 - whatever a driver gives
    """Returns the picture as height x width x 3; None if it is not one."""
    if image is None or not image.size or image.dtype != np.uint8:
        return None
    if image.ndim == 2:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    return np.asarray(image, dtype=np.uint8) if image.shape[2:] == (3,) else None


def _delivering(capture: cv2.VideoCapture, error: Any, place: str | int) -> cv2.VideoCapture:  # noqa: ANN401
    if capture.isOpened() and capture.grab():
        return capture
    capture.release()
    raise error(place)


def _stream_error(url: str) -> JetsegError:
    return DeviceError(
        f"{public_name(url)} could not be opened as a video, or sent nothing for {_TIMEOUT_SECONDS} seconds.",
        "Check address, user name and password, the network, and that the camera is on.",
    )


def _csi_error(sensor: int) -> JetsegError:
    return DeviceError(
        f"The CSI camera {sensor} gives no frames.",
        "Check the ribbon cable and the device tree, that no other program uses it, and that nvargus-daemon runs.",
    )


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
def _live_options() -> Iterator[None]:
    """Has FFmpeg open without delay, unless the user set options; only while a stream is opened, not a file."""
    if _FFMPEG_OPTIONS in os.environ:
        yield
        return
    os.environ[_FFMPEG_OPTIONS] = _LIVE_OPTIONS
    try:
        yield
    finally:
        os.environ.pop(_FFMPEG_OPTIONS, None)
