"""GStreamer pipelines of a Jetson: its camera connector and its video decoder.

No CSI camera and no Jetson decoder has been tried with these; only the strings are tested.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass, fields
from urllib.parse import parse_qsl

import cv2

from jetseg.errors import ConfigError

_CSI = re.compile(r"csi:(?P<sensor>\d+)(?:\?(?P<options>.*))?")
_INSPECT_SECONDS = 10.0
# One buffer that a newer one replaces, and no clock to wait for: the newest frame, at once.
_SINK = "appsink max-buffers=1 drop=true sync=false"
_TO_BGR = "nvvidconv ! video/x-raw, format=BGRx ! videoconvert ! video/x-raw, format=BGR"
_LEAKY = "queue leaky=downstream max-size-buffers=1"


@dataclass(frozen=True)
class CsiCamera:
    """A camera on the board's own connector.

    Attributes:
        sensor: Its number, from 0.
        width: Of the frames; one of the sensor's modes is scaled to it.
        height: Of the frames.
        fps: Frames per second.
    """

    sensor: int
    width: int = 1280
    height: int = 720
    fps: int = 30


def is_csi(spec: str) -> bool:
    """Tells whether a source names a CSI camera."""
    return spec.startswith("csi:")


def parse_csi(spec: str) -> CsiCamera:
    """Reads `csi:N` or `csi:N?width=1920&height=1080&fps=30`.

    Raises:
        ConfigError: It is written differently.

    >>> parse_csi("csi:1?fps=60")
    CsiCamera(sensor=1, width=1280, height=720, fps=60)
    """
    match = _CSI.fullmatch(spec)
    known = [field.name for field in fields(CsiCamera) if field.name != "sensor"]
    options = dict(parse_qsl(match["options"] or "", keep_blank_values=True)) if match else {}
    if not match or not set(options) <= set(known) or not all(re.fullmatch(r"[1-9]\d*", v) for v in options.values()):
        raise ConfigError(
            f"{spec} is not a CSI camera.",
            f"Write csi:N, or with whole numbers for any of {', '.join(known)}: csi:0?width=1920&height=1080&fps=30.",
        )
    return CsiCamera(int(match["sensor"]), **{name: int(value) for name, value in options.items()})


def csi_pipeline(camera: CsiCamera) -> str:
    """Makes the pipeline that takes frames from a CSI camera through the image signal processor."""
    caps = (
        f"video/x-raw(memory:NVMM), width={camera.width}, height={camera.height}, framerate={camera.fps}/1, format=NV12"
    )
    return f"nvarguscamerasrc sensor-id={camera.sensor} ! {caps} ! {_LEAKY} ! {_TO_BGR} ! {_SINK}"


def stream_pipeline(url: str, latency_ms: int = 100) -> str:
    """Makes the pipeline that decodes an RTSP stream with the Jetson's video decoder.

    Args:
        url: Address, with user name and password if the camera asks for them.
        latency_ms: How long packets may wait for those that come out of order.

    Raises:
        ConfigError: The address holds what would end the string in the pipeline.
    """
    if any(character in url for character in '"\\\n'):
        raise ConfigError(f"The address {url} holds a quotation mark or backslash.", "Write it percent-encoded.")
    source = f'rtspsrc location="{url}" protocols=tcp latency={latency_ms} drop-on-latency=true'
    return f"{source} ! parsebin ! nvv4l2decoder ! {_LEAKY} ! {_TO_BGR} ! {_SINK}"


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
