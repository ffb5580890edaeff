"""A running loop with a dashboard, in this process, for tests."""

import socket
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread

import numpy as np
from camera_fakes import ANY_SPEED, MANIFEST, FakeRunner, FakeSource

from jetseg.camera import loop
from jetseg.camera.contract import Source
from jetseg.camera.loop import LoopConfig, new_statistics
from jetseg.camera.sinks.monitors import open_monitor
from jetseg.camera.stopping import StopFlag
from jetseg.cli.run_outputs import OutputOptions, open_outputs
from jetseg.monitor.events import EventLog
from jetseg.monitor.statistics import LoopStatistics


class MovingSource(FakeSource):
    """Frames in which a bright bar moves, so that pictures differ."""

    def read(self):
        frame = super().read()
        if frame is not None:
            image = np.full((90, 160, 3), 30, np.uint8)
            image[:, (frame.sequence * 5) % 150 :][:, :10] = (40, 220, 120)
            object.__setattr__(frame, "image_hwc_u8", image)
        return frame


@dataclass
class Running:
    """What a test may look at and touch."""

    statistics: LoopStatistics
    events: EventLog
    source: Source
    stop: StopFlag


@contextmanager
def running_loop(
    options: OutputOptions, *, delay=0.01, source=None, runner=None, events=None, reference=None, further=dict
):
    """Runs a live loop in a thread, with outputs and a shadow if there is a reference, until the block ends."""
    source = source or MovingSource(None, live=True, delay=delay)
    runner, events, stop = runner or FakeRunner(0.002), events or EventLog(), StopFlag()
    failure = []
    with (
        open_outputs(options, source, MANIFEST, events, {"engine": "test.onnx", "source": "moving"}) as outputs,
        open_monitor(runner, source, reference=reference, every=5) as monitor,
    ):
        statistics = new_statistics(runner, source, engine=ANY_SPEED, events=events)
        sinks = [monitor, *outputs.sinks]

        def work():
            try:
                loop.run(LoopConfig(), runner, source, sinks, statistics=statistics, stop=stop)
            except BaseException as error:
                failure.append(error)

        with outputs.follow(statistics, lambda: {**monitor.summary(), **further()}):
            thread = Thread(target=work, name="loop")
            thread.start()
            try:
                yield Running(statistics, events, source, stop)
            finally:
                stop.requested = True
                thread.join(20)
    assert not failure, failure


def free_port():
    """Returns a port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]
