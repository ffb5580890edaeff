"""Age counts from capture where the sender tells its clock, and else is said to be since arrival."""

import socket
import subprocess
import sys
import time
from threading import Event, Thread
from time import perf_counter

import cv2
import numpy as np
import pytest
from camera_fakes import MANIFEST
from network_camera import ffmpeg, free_port

from jetseg.camera.contract import FrameResult, SinkContext, SourceFrame
from jetseg.camera.sinks.opening import open_sink
from jetseg.camera.sources.live.capture import CaptureConnection
from jetseg.camera.sources.opening import open_source
from jetseg.camera.stopping import StopFlag
from jetseg.errors import DeviceError, MissingDependencyError
from jetseg.monitor.events import EventLog
from jetseg.ros.mcap_writing import McapWriter
from jetseg.ros.message_types import IMAGE, to_cdr
from jetseg.ros.messages import image_message
from jetseg.ros.stamp import Stamp

BITS, SQUARE = 24, 40
"""A picture's clock: milliseconds since the start modulo 2^24, as bright or dark squares in three rows."""


def clock_picture(moment):
    """Shows a moment of `perf_counter`."""
    milliseconds = round(moment * 1e3) % (1 << BITS)
    squares = np.array([milliseconds >> bit & 1 for bit in range(BITS)], np.uint8).reshape(3, 8)
    picture = cv2.resize(squares * 220 + 16, (8 * SQUARE, 3 * SQUARE), interpolation=cv2.INTER_NEAREST)
    return cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR)


def clock_in(picture, now):
    """Returns the moment that a picture shows, near `now`."""
    middles = picture[SQUARE // 2 :: SQUARE, SQUARE // 2 :: SQUARE, 1].ravel() > 128
    shown = sum(int(bright) << bit for bit, bright in enumerate(middles))
    behind = (round(now * 1e3) - shown) % (1 << BITS)
    return now - behind / 1e3


class ClockStream:
    """Serves pictures of a clock 25 times a second, through `put`, until it is left."""

    def __init__(self, put, delay=0.0):
        self._put, self._delay = put, delay
        self._ended = Event()
        self._thread = Thread(target=self._work)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join()

    def _work(self):
        while not self._ended.wait(0.04):
            now = perf_counter()
            self._put(clock_picture(now), now)


def opened(url, events):
    until = perf_counter() + 30
    while True:
        try:
            return open_source(url, events=events)
        except DeviceError:
            assert perf_counter() < until
            time.sleep(0.1)


def errors_of(source, wanted, dated_by):
    """Returns by how many seconds the age that is said differs from that which the pictures show."""
    errors, until = [], perf_counter() + 30
    while len(errors) < wanted and perf_counter() < until:
        try:
            frame = source.read()
        except TimeoutError:
            continue
        if frame.dated_by == dated_by:
            errors.append(clock_in(frame.image_hwc_u8, perf_counter()) - frame.captured_at)
    assert len(errors) == wanted
    return np.array(errors)


def test_the_age_of_rtsp_with_sender_reports_counts_from_capture():
    pytest.importorskip("av")
    port, events = free_port(), EventLog()
    context = SinkContext(MANIFEST, events, StopFlag(), True, 25.0, (120, 320))
    try:
        server = open_sink(f"rtsp:127.0.0.1:{port}", context)
        sink = server.__enter__()
    except MissingDependencyError as error:
        pytest.skip(str(error))

    def put(picture, moment):
        sink.write(FrameResult(SourceFrame(0, "", moment, picture), picture[..., 0], moment, picture, None))

    try:
        with ClockStream(put):
            source = opened(f"rtsp://127.0.0.1:{port}/live", events)
            errors = errors_of(source, 50, "capture")
            source.close()
    finally:
        server.__exit__(None, None, None)
    assert np.abs(np.median(errors)) < 0.02, errors
    assert [event.text for event in events.recent()] == []


def test_the_age_of_a_transport_stream_is_said_to_be_since_arrival():
    port, events = free_port(socket.SOCK_DGRAM), EventLog()
    command = [ffmpeg(), "-v", "error", "-f", "rawvideo", "-pix_fmt", "bgr24", "-s", "320x120", "-r", "25", "-i", "-"]
    command += ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "10", "-f", "mpegts"]
    with subprocess.Popen([*command, f"udp://127.0.0.1:{port}?pkt_size=1316"], stdin=subprocess.PIPE) as server:
        with ClockStream(lambda picture, _: server.stdin.write(picture.tobytes())):
            source = opened(f"udp://127.0.0.1:{port}", events)
            errors = errors_of(source, 25, "arrival")
            source.close()
        server.kill()
    assert np.median(errors) < 0, "the frames are older than is known here"


class StampedCapture:
    """As OpenCV gives a V4L2 camera, with a driver that stamps frames 30 ms before it hands them over."""

    def __init__(self, offset=0.0):
        self._offset = offset
        self._stamp = 0.0

    def get(self, key):
        return 1e3 * self._stamp if key == cv2.CAP_PROP_POS_MSEC else 0.0

    def grab(self):
        time.sleep(0.03)
        self._stamp = perf_counter() - 0.03 + self._offset
        return True

    def retrieve(self):
        return True, np.zeros((4, 6, 3), np.uint8)

    def release(self):
        pass


@pytest.mark.skipif(sys.platform != "linux", reason="V4L2 is Linux's")
def test_a_v4l2_camera_is_dated_by_its_drivers_stamp():
    connection = CaptureConnection(StampedCapture(), is_stamped=True)
    grab, now = connection.read(), perf_counter()
    assert grab.dated_by_capture
    assert now - grab.captured_at == pytest.approx(0.03, abs=0.02)
    assert not CaptureConnection(StampedCapture(), is_stamped=False).read().dated_by_capture


@pytest.mark.parametrize("offset", [1e6, -1e6, 1.0, -100.0])
def test_a_v4l2_camera_with_another_clock_is_dated_by_arrival(offset):
    grab = CaptureConnection(StampedCapture(offset), is_stamped=True).read()
    assert not grab.dated_by_capture
    assert perf_counter() - grab.captured_at < 1


@pytest.mark.parametrize(("lag", "dated_by"), [(0.12, "capture"), (100.0, "arrival"), (None, "arrival")])
def test_a_recording_at_its_own_pace_gives_frames_as_old_as_they_were(tmp_path, lag, dated_by):
    pytest.importorskip("mcap")
    pytest.importorskip("rosbags")
    path, writer = tmp_path / "drive.mcap", McapWriter(tmp_path / "drive.mcap")
    for number in range(3):
        logged_ns = 10**18 + number * 10**8
        stamp = Stamp(0 if lag is None else logged_ns - round(lag * 1e9), "front")
        message = image_message(np.full((4, 6), number, np.uint8), "mono8", stamp)
        writer.add_message("/camera", IMAGE, to_cdr(message), logged_ns, logged_ns)
    writer.close()
    source = open_source(f"mcap:{path}:/camera?pace=stamps")
    frames = []
    while len(frames) < 3:
        try:
            frame = source.read()
        except TimeoutError:
            continue
        frames.append((frame, perf_counter()))
    source.close()
    assert {frame.dated_by for frame, _ in frames} == {dated_by}
    for frame, now in frames:
        assert now - frame.captured_at == pytest.approx(lag if dated_by == "capture" else 0.0, abs=0.02)
