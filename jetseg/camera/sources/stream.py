"""Network streams: rtsp, http, udp and whatever else FFmpeg opens; on a Jetson with its video decoder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec

import cv2

from jetseg.address import SourceAddress
from jetseg.camera.contract import Source, SourceContext
from jetseg.camera.sources.live.capture import CaptureConnection
from jetseg.camera.sources.live.connection import Connection, connect_within
from jetseg.camera.sources.live.gstreamer import NEWEST, has_hardware_decoder
from jetseg.camera.sources.live.live_source import LiveSource, open_live
from jetseg.camera.sources.live.rtsp import RtspConnection
from jetseg.camera.sources.opencv import DECODER, TIMEOUT_SECONDS, TIMEOUTS, delivering, open_capture, silence_libraries
from jetseg.camera.sources.video_file import open_video
from jetseg.data.video_formats import NETWORK_SCHEMES, network_options
from jetseg.errors import ConfigError, DeviceError

_LATENCY_MS = 100
"""How long packets may wait for those that come out of order."""
_FFMPEG_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
# OpenCV's own default, and then: no buffer, and no second of frames to estimate a rate that the stream tells; no frame
# that is damaged, or drawn over a damaged one, where FFmpeg would rather show something
_LIVE_OPTIONS = "rtsp_transport;tcp|fflags;nobuffer+discardcorrupt|flags;low_delay|fpsprobesize;2|err_detect;explode"

_RTSP_OPTIONS = {"rtsp_transport": "tcp", "fflags": "nobuffer+discardcorrupt", "fpsprobesize": "2"}


class Playlist:
    """A playlist on a web server, as of HLS or DASH; see `jetseg.camera.contract.SourceKind`.

    It may name any address of the network, so it is played only where somebody asks for one.
    """

    form = "playlist:URL"

    @staticmethod
    def open(place: str, context: SourceContext) -> Source:
        """Opens a playlist.

        Raises:
            ConfigError: It is no address of a web server.
            DeviceError: It does not answer, or holds no video.
        """
        if not place.startswith(("http://", "https://")):
            raise ConfigError(
                "A playlist must come from a web server, as in playlist:https://10.0.0.7/front.m3u8.",
                "Convert a playlist of files into one video.",
            )
        return open_stream(SourceAddress(place), context, playlists=True)


def open_stream(address: SourceAddress, context: SourceContext, *, playlists: bool = False) -> Source:
    """Opens a stream by its address; a file on a web server, which tells its length, as a video file.

    Args:
        address: The address.
        context: See `jetseg.camera.contract.SourceKind`.
        playlists: Whether it may be the address of a playlist.

    Raises:
        ConfigError: It is no address of the network.
        DeviceError: It does not answer, or holds no video.
    """
    scheme = address.reveal().partition("://")[0]
    if scheme not in NETWORK_SCHEMES:
        raise ConfigError(
            "A stream's address must begin with the name of a protocol of the network.",
            f"Give a file by its path, and a stream as one of: {', '.join(sorted(NETWORK_SCHEMES))}.",
        )
    name, connect = str(address), partial(connect_stream, address, playlists=playlists)
    if context.wait or not name.startswith("http"):
        return open_live(name, connect, context)
    connection = connect_within(context.limits.hung, connect, name)
    if connection.has_end:
        connection.close()
        return open_video(address, context.window, playlists=playlists)
    return LiveSource(name, connect, context.events, context.limits, connection=connection)


def connect_stream(address: SourceAddress, *, playlists: bool = False) -> Connection:
    """Opens a network stream, on a Jetson with its video decoder; `playlists` as for `open_stream`.

    RTSP goes through PyAV where it is installed, which tells when the sender captured a frame; through OpenCV where the
    user has options for that.

    Raises:
        DeviceError: It does not answer, or holds no video.
    """
    if address.hides:
        silence_libraries()
    url = address.reveal()
    with address.concealing():
        if url.startswith("rtsp") and has_hardware_decoder():
            capture = cv2.VideoCapture(stream_pipeline(url), cv2.CAP_GSTREAMER)
            if capture.isOpened() and capture.grab():
                return CaptureConnection(capture, is_stream=True)
            capture.release()
        if url.startswith("rtsp") and _FFMPEG_OPTIONS not in os.environ and find_spec("av") is not None:
            return _connect_rtsp(address)
        with _live_options(playlists=playlists):
            capture = open_capture(url, TIMEOUTS + DECODER)
    return CaptureConnection(delivering(capture, lambda: _silent(address)), is_stream=True)


def _connect_rtsp(address: SourceAddress) -> RtspConnection:
    try:
        connection = RtspConnection(address.reveal(), _RTSP_OPTIONS | network_options(), TIMEOUT_SECONDS)
    except DeviceError as error:
        raise _silent(address) from error
    if connection.read() is None:
        connection.close()
        raise _silent(address)
    return connection


def stream_pipeline(url: str) -> str:
    """Makes the pipeline that decodes an RTSP stream with the Jetson's video decoder.

    Args:
        url: Address, with user name and password if the camera asks for them.

    Raises:
        ConfigError: The address holds what would end the string in the pipeline.
    """
    if any(character in url for character in '"\\\n'):
        raise ConfigError("The address of the stream holds a quotation mark or backslash.", "Write it percent-encoded.")
    source = f'rtspsrc location="{url}" protocols=tcp latency={_LATENCY_MS} drop-on-latency=true'
    return f"{source} ! parsebin ! nvv4l2decoder ! {NEWEST}"


@contextmanager
def _live_options(*, playlists: bool) -> Iterator[None]:
    """Has FFmpeg open without delay, unless the user set options, and open nothing but what it shall.

    Only while a stream is opened: OpenCV reads the options each time.
    """
    own = os.environ.get(_FFMPEG_OPTIONS)
    fences = "|".join(f"{key};{value}" for key, value in network_options(playlists=playlists).items())
    # first, in case that what the user wrote cannot be read to its end; and last, since of two values the last counts
    os.environ[_FFMPEG_OPTIONS] = f"{fences}|{_LIVE_OPTIONS if own is None else own}|{fences}"
    try:
        yield
    finally:
        if own is None:
            os.environ.pop(_FFMPEG_OPTIONS, None)
        else:
            os.environ[_FFMPEG_OPTIONS] = own


def _silent(address: SourceAddress) -> DeviceError:
    return DeviceError(
        f"{address} could not be opened as a video, or sent nothing for {TIMEOUT_SECONDS} seconds.",
        "Check address, user name and password, the network, and that the camera is on.",
    )
