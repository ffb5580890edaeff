"""A running loop with a dashboard, in this process, for tests."""

import socket
from contextlib import contextmanager
from threading import Thread
from unittest.mock import patch

import numpy as np
from camera_fakes import ANY_SPEED, FakeRunner, FakeSource

from jetseg.camera.sinks.monitors import MonitorSink
from jetseg.engine.engine import Engine
from jetseg.workflows.driving import open_drive


class MovingSource(FakeSource):
    """Frames in which a bright bar moves, so that pictures differ."""

    def read(self):
        frame = super().read()
        if frame is not None:
            image = np.full((90, 160, 3), 30, np.uint8)
            image[:, (frame.sequence * 5) % 150 :][:, :10] = (40, 220, 120)
            object.__setattr__(frame, "image_hwc_u8", image)
        return frame


@contextmanager
def running_loop(*, delay=0.01, source=None, runner=None, events=None, reference=None, further=None, **settings):
    """Runs a live loop in a thread, with what settings ask for and a shadow if there is a reference; gives the drive."""
    source = source or MovingSource(None, live=True, delay=delay)
    failure, summary = [], MonitorSink.summary
    shadow = None if reference is None else Engine(reference)
    monitors = patch.object(MonitorSink, "summary", lambda self: {**summary(self), **(further or dict)()})
    with (
        monitors,
        open_drive(
            Engine(runner or FakeRunner(0.002)),
            source=source,
            shadow=shadow,
            shadow_every=5,
            events=events,
            speed=ANY_SPEED,
            **settings,
        ) as drive,
    ):

        def work():
            try:
                drive.run()
            except BaseException as error:
                failure.append(error)

        thread = Thread(target=work, name="loop")
        thread.start()
        try:
            yield drive
        finally:
            drive.stop.requested = True
            thread.join(20)
    assert not failure, failure


def free_port():
    """Returns a port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]
