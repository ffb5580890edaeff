"""A clock that a camera can film: Unix time in milliseconds as a QR code."""

from __future__ import annotations

import re
import time

import cv2
import numpy as np

from jetseg.camera.sinks.window import open_window
from jetseg.camera.stopping import StopFlag
from jetseg.preprocess import FrameU8

_MODULE_PIXELS = 24
_TIME = re.compile(r"\d{13}")


def clock_picture(milliseconds: int, module_pixels: int = _MODULE_PIXELS) -> FrameU8:
    """Draws a moment, height x width, 0 and 255.

    Args:
        milliseconds: Since 1970.
        module_pixels: Width of the smallest square.

    >>> picture = clock_picture(1767225600123, 8)
    >>> read_clock(np.dstack([picture] * 3))
    1767225600.123
    """
    code = cv2.QRCodeEncoder.create().encode(str(milliseconds))
    size = code.shape[1] * module_pixels, code.shape[0] * module_pixels
    return np.asarray(cv2.resize(code, size, interpolation=cv2.INTER_NEAREST), dtype=np.uint8)


def read_clock(frame_hwc_u8: FrameU8) -> float | None:
    """Returns the Unix time, in seconds, that a frame shows; None if it cannot be read."""
    try:
        text = cv2.QRCodeDetector().detectAndDecode(frame_hwc_u8)[0]
    except cv2.error:  # of frames in which it takes something else for a code
        return None
    return int(text) / 1e3 if _TIME.fullmatch(text) else None


def show_clock(stop: StopFlag) -> None:
    """Shows the clock in a window until `stop` is set, which q, Escape and closing the window do.

    Raises:
        DeviceError: This OpenCV has no window system, or there is no display.
    """
    with open_window("jetseg clock") as window:
        while not stop.requested:
            window.show(clock_picture(time.time_ns() // 1_000_000))
            stop.requested |= window.closed
