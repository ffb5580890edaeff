"""GStreamer on a Jetson: what this OpenCV and this machine have of it, and what all its pipelines end with.

No CSI camera and no Jetson decoder has been tried with these pipelines; only the strings are tested.
"""

from __future__ import annotations

import re
import shutil
import subprocess

import cv2

_INSPECT_SECONDS = 10.0
_LEAKY = "queue leaky=downstream max-size-buffers=1"
_TO_BGR = "nvvidconv ! video/x-raw, format=BGRx ! videoconvert ! video/x-raw, format=BGR"
# One buffer that a newer one replaces, and no clock to wait for: the newest frame, at once.
NEWEST = f"{_LEAKY} ! {_TO_BGR} ! appsink max-buffers=1 drop=true sync=false"
"""How every pipeline ends: from frames in the device's memory to the newest one as BGR."""


def has_gstreamer(build_information: str | None = None) -> bool:
    """Tells whether this OpenCV was built with GStreamer."""
    text = cv2.getBuildInformation() if build_information is None else build_information
    return re.search(r"GStreamer:\s+YES", text) is not None


def has_hardware_decoder() -> bool:
    """Tells whether GStreamer has the Jetson's video decoder, and OpenCV has GStreamer."""
    inspect = shutil.which("gst-inspect-1.0")
    if inspect is None or not has_gstreamer():
        return False
    try:
        command = [inspect, "--exists", "nvv4l2decoder"]
        return subprocess.run(command, check=False, timeout=_INSPECT_SECONDS, capture_output=True).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
