"""Cameras on a Jetson's own connector."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from functools import partial
from urllib.parse import parse_qsl

import cv2

from jetseg.camera.contract import SourceContext
from jetseg.camera.sources.live.capture import CaptureConnection
from jetseg.camera.sources.live.gstreamer import NEWEST, has_gstreamer
from jetseg.camera.sources.live.live_source import LiveSource, open_live
from jetseg.camera.sources.opencv import delivering
from jetseg.errors import ConfigError, DeviceError

_PLACE = re.compile(r"(?P<sensor>\d+)(?:\?(?P<options>.*))?")


class Csi:
    """A camera on the board's own connector; see `jetseg.camera.contract.SourceKind`."""

    form = "csi:N"

    @staticmethod
    def open(place: str, context: SourceContext) -> LiveSource:
        """Opens `N` or `N?width=1920&height=1080&fps=30`.

        Raises:
            ConfigError: It is written differently.
            DeviceError: OpenCV has no GStreamer, or the camera gives no frame.
        """
        return open_live(f"csi:{place}", partial(connect_csi, parse_csi(place)), context)


@dataclass(frozen=True)
class CsiCamera:
    """Which camera, and how.

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


def parse_csi(place: str) -> CsiCamera:
    """Reads `N` or `N?width=1920&height=1080&fps=30`.

    Raises:
        ConfigError: It is written differently.

    >>> parse_csi("1?fps=60")
    CsiCamera(sensor=1, width=1280, height=720, fps=60)
    """
    match = _PLACE.fullmatch(place)
    known = [field.name for field in fields(CsiCamera) if field.name != "sensor"]
    options = dict(parse_qsl(match["options"] or "", keep_blank_values=True)) if match else {}
    if not match or not set(options) <= set(known) or not all(re.fullmatch(r"[1-9]\d*", v) for v in options.values()):
        raise ConfigError(
            f"csi:{place} is not a CSI camera.",
            f"Write csi:N, or with whole numbers for any of {', '.join(known)}: csi:0?width=1920&height=1080&fps=30.",
        )
    return CsiCamera(int(match["sensor"]), **{name: int(value) for name, value in options.items()})


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
    return CaptureConnection(delivering(capture, lambda: _silent(camera.sensor)))


def csi_pipeline(camera: CsiCamera) -> str:
    """Makes the pipeline that takes frames from a CSI camera through the image signal processor."""
    caps = (
        f"video/x-raw(memory:NVMM), width={camera.width}, height={camera.height}, framerate={camera.fps}/1, format=NV12"
    )
    return f"nvarguscamerasrc sensor-id={camera.sensor} ! {caps} ! {NEWEST}"


def _silent(sensor: int) -> DeviceError:
    return DeviceError(
        f"The CSI camera {sensor} gives no frames.",
        "Check the ribbon cable and the device tree, that no other program uses it, and that nvargus-daemon runs.",
    )
