"""A camera made of Python whose every fault can be switched on and off."""

import threading
import time
from time import perf_counter

import numpy as np

from jetseg.camera.sources.live.connection import Grab
from jetseg.errors import DeviceError


class FakeCamera:
    """Frames at an even rate while nothing is wrong; `connect` opens it."""

    def __init__(self, size=(32, 48), frames_per_second=100.0):
        self.size = size
        self.frames_per_second = frames_per_second
        self.present = True
        self.corrupt = False
        self.corrupt_given = 0
        self.ended = False
        self.opened = []
        self.attempts = []
        self._runs = threading.Event()
        self._runs.set()

    def hang(self):
        self._runs.clear()

    def resume(self):
        self._runs.set()

    def wait_while_hanging(self):
        self._runs.wait(60)

    def picture(self):
        return np.full((*self.size, 3), 9, np.uint8)

    def connect(self):
        self.attempts.append(perf_counter())
        if not self.present:
            raise DeviceError("The fake camera is not there.")
        connection = FakeConnection(self)
        self.opened.append(connection)
        return connection


class FakeConnection:
    has_end = False

    def __init__(self, camera):
        self.camera = camera
        self.frames_per_second = camera.frames_per_second
        self.size_hw = camera.size
        self.closed_in = None

    def read(self):
        time.sleep(1 / self.frames_per_second)
        self.camera.wait_while_hanging()
        if self.camera.ended or not self.camera.present:
            return None
        if self.camera.corrupt:
            self.camera.corrupt_given += 1
            return Grab(None, perf_counter())
        return Grab(self.camera.picture(), perf_counter())

    def close(self):
        self.closed_in = threading.current_thread().name


def kinds(events):
    return [event.kind for event in events.recent()]


def wait_for(condition, seconds=10.0):
    """Waits until a condition holds; False if it does not in time."""
    until = perf_counter() + seconds
    while perf_counter() < until:
        if condition():
            return True
        time.sleep(0.005)
    return bool(condition())
