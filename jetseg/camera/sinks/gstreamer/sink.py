"""The overlay as an RTSP stream, or into a pipeline of GStreamer."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
from contextlib import AbstractContextManager, ExitStack, suppress
from fractions import Fraction
from pathlib import Path
from time import perf_counter
from typing import IO

import numpy as np

from jetseg.camera.contract import FrameResult, Sink, SinkContext
from jetseg.camera.sinks.background import Output, in_background
from jetseg.errors import ConfigError, DeviceError, MissingDependencyError

_CHILD = Path(__file__).with_name("child.py")
_HEADER = struct.Struct("<d")
_SECONDS_TO_CHECK = 30.0
_SECONDS_TO_END = 8.0
_USUAL_RATE = 30.0
_PACKETS = "rtph264pay name=pay0 config-interval=1 pt=96"
_ENCODERS = {
    "nvv4l2h264enc": "nvvidconv ! nvv4l2h264enc insert-sps-pps=true idrinterval=30 maxperf-enable=true",
    "x264enc": "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=30",
    "openh264enc": "openh264enc gop-size=30",
}
"""What encodes H.264, best first; a Jetson's own was not tried."""
_FIX = (
    "Install GStreamer with its bindings for the system's Python: apt-get install python3-gst-1.0 "
    "gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad "
    "gstreamer1.0-plugins-ugly."
)


class GStreamerSink(Output):
    """Pushes the overlay into a pipeline that runs in a process of its own; an `Output`.

    Buffers carry the time of capture. A pipeline that fails is started again with the next frame after a rest, and one
    of frames of another size at once.

    Args:
        pipeline: With an appsrc, which gets BGR frames; without one, a converter's output comes before it.
        frames_per_second: Nominal rate of the source.
        server: Host and port of an RTSP server whose stream `/live` it is, instead of a pipeline that plays by itself.

    Raises:
        ConfigError: GStreamer cannot make it, or the port is taken.
        MissingDependencyError: No Python here has GStreamer's bindings.
    """

    form = "gstreamer:PIPELINE"
    kind = "gstreamer"
    wants_overlay = True

    @staticmethod
    def open(place: str, context: SinkContext) -> AbstractContextManager[Sink]:
        """Opens a pipeline, as in `appsrc ! videoconvert ! autovideosink`; see `jetseg.camera.contract.SinkKind`."""
        return in_background(GStreamerSink(place, context.frames_per_second), context.events, live=context.live)

    def __init__(
        self, pipeline: str, frames_per_second: float | None = None, server: tuple[str, int] | None = None
    ) -> None:
        self._python = _python()
        self._pipeline = pipeline if "appsrc" in pipeline else f"appsrc ! videoconvert ! {pipeline}"
        self._rate = Fraction(frames_per_second or _USUAL_RATE).limit_denominator(1001)
        self._server = server
        self._child: subprocess.Popen[bytes] | None = None
        self._stack = ExitStack()
        self._log: IO[bytes] | None = None
        self._pipe: IO[bytes] | None = None
        self._size_hw = (0, 0)
        reason = _check(self._python, self._pipeline)
        if reason:
            raise ConfigError(f"GStreamer cannot make the pipeline: {reason}.", f"Correct it, or: {_FIX}")

    def write(self, result: FrameResult) -> None:
        """Pushes one frame.

        Raises:
            DeviceError: The pipeline failed.
        """
        picture = result.overlay_hwc_u8
        if picture is None:
            return
        if self._pipe is None or picture.shape[:2] != self._size_hw:
            self.close()
            pipe = self._start(picture.shape[0], picture.shape[1])
        else:
            pipe = self._pipe
        age = max(0.0, perf_counter() - result.frame.captured_at)
        try:
            pipe.write(_HEADER.pack(age) + np.ascontiguousarray(picture).tobytes())
            pipe.flush()
        except OSError as error:
            raise DeviceError(f"The pipeline ended: {self._last_words()}", "Look at what it says.") from error

    def reset(self) -> None:
        """Ends the process at once."""
        if self._child is not None:
            self._child.kill()
        self.close()

    def close(self) -> None:
        """Lets the pipeline finish, for some seconds."""
        child, pipe = self._child, self._pipe
        self._child = self._pipe = None
        if child is None or pipe is None:
            return
        with suppress(OSError):
            pipe.close()
        try:
            child.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        self._stack.close()

    def _start(self, height: int, width: int) -> IO[bytes]:
        rate = f"{self._rate.numerator}/{self._rate.denominator}"
        server = [] if self._server is None else [self._server[0], str(self._server[1])]
        mode = "rtsp" if server else "pipeline"
        self._log = self._stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        command = [*self._python, mode, str(width), str(height), rate, *server, self._pipeline]
        ours, theirs = os.pipe()
        self._pipe = pipe = os.fdopen(theirs, "wb")
        with os.fdopen(ours, "rb") as frames:
            self._child = subprocess.Popen(command, stdin=frames, stdout=subprocess.DEVNULL, stderr=self._log)
        self._size_hw = height, width
        return pipe

    def _last_words(self) -> str:
        if self._child is None or self._log is None:
            return "its process is gone."
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(_SECONDS_TO_END)
        self._log.seek(0)
        lines = self._log.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else f"its process ended with code {self._child.returncode}."


class RtspSink:
    """An RTSP server of GStreamer's with the overlay as its stream `/live`; see `GStreamerSink`."""

    form = "rtsp:HOST:PORT"

    @staticmethod
    def open(place: str, context: SinkContext) -> AbstractContextManager[Sink]:
        """Opens `PORT` on loopback, or `HOST:PORT`; see `jetseg.camera.contract.SinkKind`."""
        host, _, port = place.rpartition(":")
        if not port.isdecimal() or not 0 < int(port) < 65536:
            raise ConfigError(f"{place!r} is no port for RTSP.", "Write it as rtsp:8554.")
        server = host.strip("[]") or "127.0.0.1", int(port)
        _check_free(*server)
        sink = GStreamerSink(_rtsp_pipeline(), context.frames_per_second, server)
        return in_background(sink, context.events, live=context.live)


def _rtsp_pipeline() -> str:
    """Makes what encodes a stream, with the best encoder that there is."""
    reason = ""
    for encoder in _ENCODERS.values():
        pipeline = f"appsrc ! videoconvert ! {encoder} ! {_PACKETS}"
        if not (reason := _check(_python(), pipeline)):
            return pipeline
    raise MissingDependencyError(
        "GStreamer", "", "serves RTSP, and it has no encoder of H.264 here", f"{_FIX} ({reason})"
    )


def _check(python: list[str], pipeline: str) -> str:
    """Returns why GStreamer cannot make a pipeline; empty if it can."""
    try:
        found = subprocess.run(
            [*python, "check", pipeline], capture_output=True, text=True, check=False, timeout=_SECONDS_TO_CHECK
        )
    except subprocess.TimeoutExpired:
        return f"it gave no answer within {_SECONDS_TO_CHECK:.0f} seconds"
    return (
        "" if found.returncode == 0 else (found.stderr.strip().splitlines() or ["no reason was given"])[-1].rstrip(".")
    )


def _python() -> list[str]:
    """Returns the command of a Python with GStreamer's bindings, and the script.

    Raises:
        MissingDependencyError: There is none.
    """
    for python in dict.fromkeys([sys.executable, shutil.which("python3", path="/usr/bin") or ""]):
        test = [python, "-c", "import gi; gi.require_version('Gst', '1.0'); from gi.repository import Gst"]
        if python and subprocess.run(test, capture_output=True, check=False).returncode == 0:
            return [python, str(_CHILD)]
    raise MissingDependencyError("gi", "", "drives GStreamer", _FIX)


def _check_free(host: str, port: int) -> None:
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        raise ConfigError(
            f"`rtsp` cannot use port {port} of {host}: {error.strerror}.", "Give another port."
        ) from error
