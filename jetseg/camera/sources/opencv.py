"""OpenCV as all sources use it: quiet, with time limits, and with one decoder thread."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import cv2

from jetseg.errors import JetsegError

TIMEOUT_SECONDS = 5
# FFmpeg's and OpenCV's own lines on stderr: errors and events say it better. OpenCV reads these once.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", str(TIMEOUT_SECONDS))


def silence_libraries() -> None:
    """Has OpenCV, FFmpeg and GStreamer print nothing of what they open from now on, whatever the user asked for."""
    os.environ["OPENCV_FFMPEG_LOGLEVEL"] = "-8"
    for name in ("OPENCV_FFMPEG_DEBUG", "GST_DEBUG"):
        os.environ.pop(name, None)
    _silence_opencv()


def _silence_opencv() -> None:
    # OpenCV 4 has this function at its top level, OpenCV 5 in a module
    logging: Any = getattr(cv2.utils, "logging", cv2)
    logging.setLogLevel(0)


if "OPENCV_LOG_LEVEL" not in os.environ:
    _silence_opencv()


def known_properties(**properties: int) -> list[int]:
    """Returns those capture properties that this OpenCV has: a Jetson's own build is years older than the wheel."""
    known = {name: value for name, value in properties.items() if hasattr(cv2, name)}
    return [number for name, value in known.items() for number in (int(getattr(cv2, name)), value)]


# Decoder threads would each hold back a frame, which is age, and take the engine's cores.
DECODER = known_properties(CAP_PROP_N_THREADS=1)
TIMEOUTS = known_properties(
    CAP_PROP_OPEN_TIMEOUT_MSEC=1000 * TIMEOUT_SECONDS, CAP_PROP_READ_TIMEOUT_MSEC=1000 * TIMEOUT_SECONDS
)


def open_capture(place: str, parameters: list[int]) -> cv2.VideoCapture:
    """Opens a URL with FFmpeg, else with GStreamer, which knows none of the parameters.

    What comes over HTTP is left to FFmpeg: GStreamer would play a list of whatever addresses, files among them.
    """
    capture = cv2.VideoCapture(place, cv2.CAP_FFMPEG, parameters)
    if capture.isOpened() or place.startswith("http"):
        return capture
    return cv2.VideoCapture(place, cv2.CAP_GSTREAMER)


def nominal_rate(capture: cv2.VideoCapture) -> float | None:
    """Returns the frames per second that a capture promises; None where it tells nothing that can be."""
    rate = capture.get(cv2.CAP_PROP_FPS)
    return float(rate) if 0 < rate < 1000 else None


def delivering(capture: cv2.VideoCapture, error: Callable[[], JetsegError]) -> cv2.VideoCapture:
    """Returns a capture that gives frames.

    Raises:
        JetsegError: It gives none; what `error` makes.
    """
    if capture.isOpened() and capture.grab():
        return capture
    capture.release()
    raise error()
