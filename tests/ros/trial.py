"""A loop between two topics, with a peer in a process of its own."""

import json
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from random import SystemRandom
from threading import Thread
from time import perf_counter

import numpy as np

from jetseg.camera.config import LoopConfig
from jetseg.camera.contract import SinkContext
from jetseg.camera.loop import run_loop
from jetseg.camera.sinks.opening import open_sink
from jetseg.camera.sources.opening import open_source
from jetseg.camera.stopping import StopFlag
from jetseg.manifest import Manifest
from jetseg.monitor.engine_speed import EngineSpeed
from jetseg.monitor.events import EventLog
from jetseg.monitor.observer import Observer
from jetseg.monitor.statistics import LoopStatistics

HERE = Path(__file__).parent
MANIFEST = Manifest.model_validate(
    {"classes": ["blue", "green", "red"], "input": {"height": 360, "width": 480, "color": "bgr"}}
)


def free_port():
    """Returns a port that no other program is given by chance before the peer binds it."""
    while True:
        port = SystemRandom().randrange(20_000, 30_000)
        with socket.socket() as found, suppress(OSError):
            found.bind(("127.0.0.1", port))
            return port


class ColorRunner:
    """Takes the strongest color as the class."""

    manifest = MANIFEST

    def infer(self, network_input):
        return network_input.argmax(axis=1).astype(np.uint8)

    def close(self):
        pass


ColorRunner.manifest = MANIFEST.with_output(kind="classmap")


class Moments:
    """Keeps when each class map was ready."""

    wants_overlay = False

    def __init__(self):
        self.ready = {}

    def write(self, result):
        self.ready[result.frame.stamp.nanoseconds] = result.ready_at


@contextmanager
def peer(script, *arguments, python=sys.executable, env=None):
    """Runs a peer; it has said "ready" when the block begins."""
    process = subprocess.Popen(
        [python, "-u", str(HERE / script), *map(str, arguments)], stdout=subprocess.PIPE, text=True, env=env
    )
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


class Loop:
    """A loop on `place_in` that publishes to `place_out`, in a thread."""

    def __init__(self, place_in, place_out, *, wait=False, arrivals=None):
        self.events, self.stop, self.moments = EventLog(), StopFlag(), Moments()
        self.statistics = LoopStatistics(EngineSpeed(1000.0, 1, outputs_stay=True), events=self.events)
        self._stack = ExitStack()
        watchers = []
        context = SinkContext(MANIFEST, self.events, self.stop, live=True, watch=watchers.append)
        self.sink = self._stack.enter_context(open_sink(f"ros2:{place_out}", context))
        self.source = open_source(f"ros2:{place_in}", events=self.events, wait=wait)
        self.statistics.losses = self.source.losses
        observer = Observer(self.statistics)
        for watcher in watchers:
            observer.listen(watcher)
        self._stack.enter_context(observer)
        self._thread = Thread(target=self._run)
        self._thread.start()

    def _run(self):
        run_loop(
            LoopConfig(),
            ColorRunner(),
            self.source,
            [self.moments, self.sink],
            statistics=self.statistics,
            stop=self.stop,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop.requested = True
        self._thread.join(20)
        self._stack.close()
        assert not self._thread.is_alive()

    def kinds(self):
        return [event.kind for event in self.events.recent()]


def report_of(process, seconds=60):
    """Returns what a peer tells at its end."""
    lines = process.communicate(timeout=seconds)[0].splitlines()
    found = json.loads(lines[-1])
    found["sent"] = {int(stamp): moment for stamp, moment in found["sent"].items()}
    return found


def check_report(found, count, least):
    """Every class map is that of its frame, in order, byte by byte as rosbags writes it; a share of them came.

    All come on a quiet machine. On a busy one a loop that is late drops frames, and so does a bus that promises nothing.
    """
    stamps = [stamp for stamp, _ in found["received"]]
    assert found["wrong"] == 0
    assert stamps == sorted(set(stamps))
    assert set(stamps) <= set(found["sent"])
    assert len(found["sent"]) == count
    assert len(stamps) >= count * least


def transport_ms(found, loop):
    """Returns how long each class map took from the loop to the subscriber, in milliseconds."""
    back = [arrived - loop.moments.ready[stamp] for stamp, arrived in found["received"]]
    return np.array(back) * 1e3


def await_true(condition, seconds=15):
    until = perf_counter() + seconds
    while not condition():
        assert perf_counter() < until, "it did not happen in time"
        time.sleep(0.005)
