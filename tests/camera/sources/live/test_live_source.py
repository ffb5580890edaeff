import threading
import time
from time import perf_counter

import cv2
import numpy as np
import pytest
from live_fakes import FakeCamera, kinds, wait_for

from jetseg.camera.config import LiveLimits
from jetseg.camera.sources.live.capture import CaptureConnection
from jetseg.camera.sources.live.connection import connect_within
from jetseg.camera.sources.live.live_source import LiveSource
from jetseg.camera.sources.opening import open_source
from jetseg.errors import DeviceError, StageStoppedError
from jetseg.monitor.events import EventLog

LIMITS = LiveLimits(silent=0.3, hung=0.8, first_pause=0.01, longest_pause=0.08)


@pytest.fixture(autouse=True)
def no_thread_is_left_behind():
    before = set(threading.enumerate())
    yield
    assert wait_for(lambda: set(threading.enumerate()) <= before)


@pytest.fixture
def camera():
    fake = FakeCamera()
    yield fake
    fake.resume()


@pytest.fixture
def events():
    return EventLog()


@pytest.fixture
def source(camera, events):
    opened = LiveSource("fake", camera.connect, events, LIMITS, connection=camera.connect())
    yield opened
    camera.resume()
    opened.close()


def read_until(source, condition, seconds=10.0):
    """Reads like the loop until a condition holds; returns the frames."""
    frames, until = [], perf_counter() + seconds
    while not condition():
        assert perf_counter() < until, "the condition never held"
        try:
            frames.append(source.read())
        except TimeoutError:
            continue
    return frames


def next_frame(source, seconds=10.0):
    until = perf_counter() + seconds
    while True:
        try:
            return source.read()
        except TimeoutError:
            assert perf_counter() < until, "no frame came"


def test_a_slow_reader_gets_the_newest_frame_and_the_rest_is_counted(source):
    next_frame(source)
    before = source.losses.dropped
    time.sleep(0.2)
    frame = next_frame(source)
    assert perf_counter() - frame.captured_at < 0.1
    assert source.losses.dropped > before + 3
    source.close()
    # every whole frame was read, replaced, or waiting at the end
    assert source.losses.corrupt == 0


def test_what_came_before_the_first_read_is_not_counted(source):
    time.sleep(0.2)
    next_frame(source)
    assert source.losses.dropped <= 2


def test_a_stall_is_reported_and_the_same_connection_goes_on(camera, source, events):
    next_frame(source)
    camera.hang()
    read_until(source, lambda: "camera-stalled" in kinds(events))
    camera.resume()
    next_frame(source)
    assert kinds(events) == ["camera-stalled", "camera-back"]
    assert len(camera.opened) == 1
    assert events.recent()[1].values["silent_s"] >= 0.3


def test_a_hanging_driver_is_left_behind_and_the_camera_opened_anew(camera, source, events):
    next_frame(source)
    first = camera.opened[0]
    hanging, waiting = FakeCamera(), camera.wait_while_hanging
    camera.wait_while_hanging = lambda: threading.current_thread() is reader and hanging.wait_while_hanging()
    reader = next(thread for thread in threading.enumerate() if thread.name == "jetseg-reader")
    hanging.hang()
    read_until(source, lambda: "camera-back" in kinds(events))
    assert kinds(events) == ["camera-stalled", "camera-lost", "camera-back"]
    assert len(camera.opened) == 2
    assert first.closed_in is None
    hanging.resume()
    assert wait_for(lambda: first.closed_in == "jetseg-reader")
    camera.wait_while_hanging = waiting


@pytest.mark.long
def test_a_lost_camera_is_reported_once_and_opened_until_it_is_back(camera, events):
    limits = LiveLimits(first_pause=0.02, longest_pause=0.6)
    source = LiveSource("fake", camera.connect, events, limits, connection=camera.connect())
    next_frame(source)
    camera.present = False
    read_until(source, lambda: len(camera.attempts) > 7)
    assert kinds(events) == ["camera-lost"]
    assert events.recent()[0].severity == "alarm"
    pauses = np.diff(camera.attempts[1:])
    assert pauses[-1] >= 0.3
    assert sum(pauses[:3]) < 0.02 * 14 + 1
    camera.present = True
    frame = next_frame(source)
    assert perf_counter() - frame.captured_at < 0.1
    assert kinds(events) == ["camera-lost", "camera-back"]
    assert events.recent()[1].values["attempts"] > 6
    source.close()


def test_a_camera_that_comes_and_goes_is_not_opened_in_a_rush(camera, events):
    limits = LiveLimits(first_pause=0.02, longest_pause=0.4)
    source = LiveSource("fake", camera.connect, events, limits, connection=camera.connect())
    for _ in range(7):
        next_frame(source)
        camera.ended = True
        read_until(source, lambda: kinds(events)[-1:] == ["camera-lost"])
        camera.ended = False
    next_frame(source)
    assert kinds(events) == ["camera-lost", "camera-back"] * 7
    assert np.diff(camera.attempts)[-1] >= 0.2
    source.close()


def test_corrupt_frames_are_skipped_counted_and_reported(camera, source, events):
    next_frame(source)
    camera.corrupt = True
    read_until(source, lambda: source.losses.corrupt >= 5 and "frame-corrupt" in kinds(events))
    camera.corrupt = False
    frame = next_frame(source)
    assert frame.image_hwc_u8 is not None
    # one event, not one for each
    assert kinds(events).count("frame-corrupt") == 1


def test_a_camera_that_sends_only_corrupt_frames_is_opened_anew(camera, source, events):
    next_frame(source)
    camera.corrupt = True
    read_until(source, lambda: "camera-lost" in kinds(events))
    assert {"frame-corrupt", "camera-stalled", "camera-lost"} == set(kinds(events))


def test_another_size_is_reported(camera, source, events):
    next_frame(source)
    camera.size = (64, 96)
    read_until(source, lambda: source.size_hw == (64, 96))
    event = events.recent()[-1]
    assert (event.kind, event.values) == ("size-changed", {"width": 96, "height": 64})


def test_readers_that_never_come_back_end_the_process_after_a_few(camera, source):
    limits = LiveLimits(silent=0.02, hung=0.04, first_pause=0.001, longest_pause=0.002)
    stuck = LiveSource("fake", camera.connect, EventLog(), limits, connection=camera.connect())
    next_frame(stuck)
    camera.hang()
    with pytest.raises(StageStoppedError, match="The capture stage stopped: 8 readings of fake hang") as caught:
        next_frame(stuck)
    assert caught.value.exit_code == 4
    stuck.close()


def test_an_error_of_the_driver_is_a_lost_camera_not_the_end(camera, source, events):
    next_frame(source)

    def broken(self=None):
        raise cv2.error("no such ioctl")

    camera.opened[0].read = broken
    read_until(source, lambda: "camera-back" in kinds(events))
    assert "no such ioctl" in events.recent()[0].text


def test_close_ends_the_reader_and_closes_the_connection_in_its_thread(camera, source):
    next_frame(source)
    source.close()
    source.close()
    assert wait_for(lambda: camera.opened[0].closed_in == "jetseg-reader")


def test_a_camera_can_be_awaited(camera, events):
    camera.present = False
    source = LiveSource("fake", camera.connect, events, LIMITS)
    read_until(source, lambda: len(camera.attempts) > 2)
    camera.present = True
    next_frame(source)
    assert kinds(events) == ["camera-lost", "camera-back"]
    source.close()


def test_waiting_is_for_a_camera_that_may_come(events):
    source = open_source("97", events=events, wait=True, limits=LIMITS)
    with pytest.raises(TimeoutError):
        source.read()
    source.close()
    assert kinds(events) == ["camera-lost"]


def test_opening_that_hangs_is_left_after_its_limit():
    release, closed = threading.Event(), threading.Event()

    class Late:
        close = staticmethod(closed.set)

    def connect():
        release.wait(20)
        return Late()

    with pytest.raises(DeviceError, match="gate did not answer within"):
        connect_within(0.05, connect, "gate")
    release.set()
    assert closed.wait(5)


class FakeCapture:
    """A camera at 50 frames per second that queued five frames up and is unplugged after ten more."""

    def __init__(self):
        self.grabbed = 0

    def get(self, prop):
        return {cv2.CAP_PROP_FPS: 50.0, cv2.CAP_PROP_FRAME_COUNT: -1.0}.get(prop, 32.0)

    def grab(self):
        self.grabbed += 1
        if self.grabbed > 5:
            time.sleep(0.02)
        return self.grabbed <= 15

    def retrieve(self):
        time.sleep(0.03)
        if self.grabbed == 9:
            return True, np.zeros((0, 0, 3), np.uint8)[..., 0]
        shape = (32, 48) if self.grabbed == 8 else (32, 48, 3)
        return self.grabbed != 10, np.full(shape, self.grabbed, np.uint8)

    def release(self):
        pass


def test_connection_skips_what_queued_up_and_dates_frames_before_decoding():
    connection = CaptureConnection(FakeCapture())
    grab = connection.read()
    assert grab.image_hwc_u8[0, 0, 0] == 7
    assert perf_counter() - grab.captured_at >= 0.03
    assert connection.read().image_hwc_u8.shape == (32, 48, 3)
    rest = []
    while (grab := connection.read()) is not None:
        rest.append(grab)
    assert len(rest) == 7
    assert [grab.image_hwc_u8 is None for grab in rest[:3]] == [True, True, False]
