"""Network streams: rtsp, http, udp and whatever else FFmpeg opens; on a Jetson with its video decoder."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import cv2

from jetseg.camera.contract import Source, SourceContext
from jetseg.camera.sources.live.capture import CaptureConnection
from jetseg.camera.sources.live.connection import connect_within
from jetseg.camera.sources.live.gstreamer import NEWEST, has_hardware_decoder
from jetseg.camera.sources.live.live_source import LiveSource, open_live
from jetseg.camera.sources.opencv import DECODER, TIMEOUT_SECONDS, TIMEOUTS, delivering, open_capture
from jetseg.camera.sources.video_file import open_video
from jetseg.errors import ConfigError, DeviceError

_CREDENTIALS = re.compile(r"//[^/@]*@")
_LATENCY_MS = 100
"""How long packets may wait for those that come out of order."""
_FFMPEG_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
# OpenCV's own default, and then: no buffer, and no second of frames to estimate a rate that the stream tells; no frame
# that is damaged, or drawn over a damaged one, where FFmpeg would rather show something
_LIVE_OPTIONS = "rtsp_transport;tcp|fflags;nobuffer+discardcorrupt|flags;low_delay|fpsprobesize;2|err_detect;explode"


def open_stream(url: str, context: SourceContext) -> Source:
    """Opens a stream by its address; a file on a web server, which tells its length, as a video file.

    Raises:
        DeviceError: It does not answer, or holds no video.
    """
    name, connect = public_name(url), partial(connect_stream, url)
    if context.wait or not url.startswith("http"):
        return open_live(name, connect, context)
    connection = connect_within(context.limits.hung, connect, name)
    if connection.has_end:
        connection.close()
        return open_video(url, context.window)
    return LiveSource(name, connect, context.events, context.limits, connection=connection)


def connect_stream(url: str) -> CaptureConnection:
    """Opens a network stream, on a Jetson with its video decoder.

    Raises:
        DeviceError: It does not answer, or holds no video.
    """
    if url.startswith("rtsp") and has_hardware_decoder():
        capture = cv2.VideoCapture(stream_pipeline(url), cv2.CAP_GSTREAMER)
        if capture.isOpened() and capture.grab():
            return CaptureConnection(capture, is_stream=True)
        capture.release()
    with _live_options():
        capture = open_capture(url, TIMEOUTS + DECODER)
    return CaptureConnection(delivering(capture, lambda: _silent(url)), is_stream=True)


def public_name(source: str) -> str:
    """Leaves user name and password out of an address, for logs, videos and pages.

    >>> public_name("rtsp://admin:secret@10.0.0.7/front")
    'rtsp://10.0.0.7/front'
    """
    return _CREDENTIALS.sub("//", source)


def stream_pipeline(url: str) -> str:
    """Makes the pipeline that decodes an RTSP stream with the Jetson's video decoder.

    Args:
        url: Address, with user name and password if the camera asks for them.

    Raises:
        ConfigError: The address holds what would end the string in the pipeline.
    """
    if any(character in url for character in '"\\\n'):
        raise ConfigError(f"The address {url} holds a quotation mark or backslash.", "Write it percent-encoded.")
    source = f'rtspsrc location="{url}" protocols=tcp latency={_LATENCY_MS} drop-on-latency=true'
    return f"{source} ! parsebin ! nvv4l2decoder ! {NEWEST}"


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


def _silent(url: str) -> DeviceError:
    return DeviceError(
        f"{public_name(url)} could not be opened as a video, or sent nothing for {TIMEOUT_SECONDS} seconds.",
        "Check address, user name and password, the network, and that the camera is on.",
    )
