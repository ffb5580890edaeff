"""USB and other cameras that the operating system knows by a number (V4L2 on Linux)."""

from __future__ import annotations

import re
import sys
from functools import partial
from pathlib import Path

import cv2

from jetseg.camera.contract import SourceContext
from jetseg.camera.sources.live.capture import CaptureConnection
from jetseg.camera.sources.live.live_source import LiveSource, open_live
from jetseg.camera.sources.opencv import delivering
from jetseg.errors import DataError, DeviceError
from jetseg.input_spec import FrameWindow

_DEEP_GRAY = tuple(cv2.VideoWriter.fourcc(*name) for name in ("Y16 ", "Y12 ", "Y10 "))
_NAME = re.compile(r"(?:/dev/video)?(\d+)")


def camera_index(source: str) -> int | None:
    """Returns the number of the camera that is meant; None if it is no camera.

    >>> camera_index("0"), camera_index("/dev/video2"), camera_index("drive.mp4")
    (0, 2, None)
    """
    found = _NAME.fullmatch(source)
    return int(found[1]) if found else None


def open_camera(index: int, context: SourceContext) -> LiveSource:
    """Opens a camera by its number.

    Raises:
        DeviceError: There is no such camera, or it gives no frame.
    """
    return open_live(str(index), partial(connect_camera, index, context.window), context)


def connect_camera(index: int, window: FrameWindow | None = None) -> CaptureConnection:
    """Opens a camera by its index (/dev/videoINDEX on Linux).

    Args:
        index: Its number.
        window: Which values become 0 to 255 if the camera gives gray of more than 8 bits, for which it is asked then.

    Raises:
        DataError: It gives such gray, and there is no window: OpenCV would keep the upper 8 bits alone.
        DeviceError: There is no such camera, or it gives no frame.
    """
    linux = sys.platform == "linux"
    capture = cv2.VideoCapture(index, cv2.CAP_V4L2 if linux else cv2.CAP_ANY)
    # one waiting frame, where the driver lets us choose: a longer queue only ages them
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    if window is not None:
        capture.set(cv2.CAP_PROP_FOURCC, _DEEP_GRAY[0])
    if int(capture.get(cv2.CAP_PROP_FOURCC)) in _DEEP_GRAY:
        if window is None:
            capture.release()
            raise DataError(
                f"Camera {index} gives gray frames of more than 8 bits, of which a network sees 256 levels.",
                "Say in the network's manifest, under `input`, which values count: `frames: {low: 0, high: 4095}`.",
            )
        capture.set(cv2.CAP_PROP_CONVERT_RGB, 0)
    return CaptureConnection(delivering(capture, lambda: _silent(index)), window=window, is_stamped=linux)


def _silent(index: int) -> DeviceError:
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
