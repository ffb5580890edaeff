"""A run for a long time with faults at random: nothing grows, nothing is left, events stay in order.

The camera, the network and the full disk are doubles; everything between them is the product.
"""

import gc
import json
import random
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import cycle

import numpy as np
import psutil
import pytest
from camera_fakes import FakeRunner
from live_fakes import FakeCamera, wait_for
from serving import free_port, running_loop
from test_hostile import clients

from jetseg.camera.config import LiveLimits
from jetseg.camera.sinks import background, segments
from jetseg.camera.sources.live.live_source import LiveSource
from jetseg.monitor import run_log, shadow
from jetseg.monitor.events import EventLog

pytest.importorskip("uvicorn", reason="uvicorn (extra `dashboard`) is not installed")
pytest.importorskip("av", reason="PyAV (extra `record`) is not installed")
pytest.importorskip("zmq", reason="pyzmq (extra `publish`) is not installed")

LIMITS = LiveLimits(silent=0.5, hung=1.0, first_pause=0.05, longest_pause=0.2)
SIZES = (90, 160), (120, 160), (60, 80)
ENDS = {
    "camera-back": {"camera-lost", "camera-stalled"},
    "shadow-resumed": {"shadow-failed", "shadow-stalled"},
    "recording-resumed": {"recording-stopped"},
    "log-resumed": {"log-stopped"},
}
"""What ends a trouble, and what begins it."""


class Camera(FakeCamera):
    """Shows a bar that moves, at a size that changes."""

    def __init__(self):
        super().__init__(SIZES[0], frames_per_second=40.0)
        self._shown = 0
        self._sizes = cycle(SIZES[1:] + SIZES[:1])

    def picture(self):
        image = np.full((*self.size, 3), 30, np.uint8)
        self._shown += 1
        image[:, self._shown * 5 % (self.size[1] - 10) :][:, :10] = (40, 220, 120)
        return image

    @contextmanager
    def vanishes(self):
        self.present = False
        yield
        self.present = True

    @contextmanager
    def hangs(self):
        self.hang()
        yield
        self.resume()

    @contextmanager
    def lies(self):
        self.corrupt = True
        yield
        self.corrupt = False

    @contextmanager
    def changes_size(self):
        self.size = next(self._sizes)
        yield


class Disk:
    """Refuses writes, or takes long for them."""

    def __init__(self, monkeypatch):
        self._is_full = False
        self._delay = 0.0
        for owner, name in ((segments._Segment, "add"), (run_log.RunLog, "_write")):
            monkeypatch.setattr(owner, name, self._faulty(getattr(owner, name)))

    def _faulty(self, original):
        def call(*arguments):
            if self._is_full:
                raise OSError(28, "No space left on device")
            time.sleep(self._delay)
            return original(*arguments)

        return call

    @contextmanager
    def is_full(self):
        self._is_full = True
        yield
        self._is_full = False

    @contextmanager
    def is_slow(self):
        self._delay = 0.3
        yield
        self._delay = 0.0


class Reference(FakeRunner):
    """The network of the shadow."""

    def __init__(self):
        super().__init__(0.02)
        self._is_broken = False
        self._runs = threading.Event()
        self._runs.set()

    def infer(self, network_input):
        self._runs.wait(30)
        if self._is_broken:
            raise RuntimeError("no memory")
        return super().infer(network_input)

    @contextmanager
    def breaks(self):
        self._is_broken = True
        yield
        self._is_broken = False

    @contextmanager
    def stalls(self):
        self._runs.clear()
        yield
        self._runs.set()


@pytest.mark.long
@pytest.mark.parametrize(
    "seconds",
    [
        8,
        pytest.param(120, marks=pytest.mark.slow),
        pytest.param(1800, marks=[pytest.mark.slow, pytest.mark.timeout(2400)]),
    ],
)
def test_nothing_grows_and_nothing_is_left(seconds, tmp_path, monkeypatch):
    monkeypatch.setattr(background, "RETRY_SECONDS", 0.3)
    monkeypatch.setattr(run_log, "RETRY_SECONDS", 0.3)
    monkeypatch.setattr(shadow, "RETRY_SECONDS", 0.3)
    monkeypatch.setattr(shadow, "STALL_SECONDS", 0.4)
    process, rng, port = psutil.Process(), random.Random(0), free_port()
    threads_before, files_before = set(threading.enumerate()), process.num_fds()
    camera, disk, reference, events = Camera(), Disk(monkeypatch), Reference(), EventLog()
    happened, memory, files = [], [], []
    events.listen(lambda event: happened.append((event.sequence, event.kind)))
    source = LiveSource("camera", camera.connect, events, LIMITS, connection=camera.connect())
    faults = [camera.vanishes, camera.hangs, camera.lies, camera.changes_size, disk.is_full, disk.is_slow]
    faults += [reference.breaks, reference.stalls]
    faults += [partial(clients, port, kind) for kind in ("viewer", "never-reads", "many-connections")]
    settings = {
        "record": tmp_path / "record",
        "segment_seconds": 2.0,
        "record_gb": 0.01,
        "log": tmp_path / "run.jsonl",
        "ring": f"jetseg-soak-{port}",
        "publish": f"tcp://127.0.0.1:{free_port()}",
        "dashboard": port,
        "metrics": 0,
    }
    with running_loop(source=source, events=events, reference=reference, **settings) as running:
        until, waiting = time.perf_counter() + seconds, []
        while time.perf_counter() < until:
            with ExitStack() as now:
                for _ in range(rng.randint(1, 4)):
                    waiting = waiting or rng.sample(faults, len(faults))  # each comes before one comes again
                    now.enter_context(waiting.pop()())
                time.sleep(rng.uniform(0.5, 2.0))
            shown = running.statistics.rate.count
            assert wait_for(lambda shown=shown: running.statistics.rate.count > shown + 5, 5)
            time.sleep(rng.uniform(0.0, 1.0))
            gc.collect()
            memory.append(process.memory_info().rss)
            files.append(process.num_fds())
        assert wait_for(lambda: not still_on(happened), 10), still_on(happened)
    summary = running.statistics.summary()
    sys.stdout.write(
        f"\n{len(memory)} rounds, {len(happened)} events; {summary.frames} frames, {summary.dropped} dropped, "
        f"{summary.corrupt} corrupt; memory {[rss >> 20 for rss in memory[:: 1 + len(memory) // 12]]} MB\n"
    )
    assert summary.frames > 8 * seconds
    assert summary.captured == summary.frames + summary.dropped + summary.corrupt
    check_events(happened, tmp_path, {*ENDS, *set().union(*ENDS.values())} if seconds > 60 else {"camera-back"})
    assert not [thread.name for thread in threading.enumerate() if thread not in threads_before]
    gc.collect()
    assert process.num_fds() <= files_before
    assert max(files) < 200
    if seconds > 60:  # a short run has not filled its histograms, its histories and its allocator yet
        first, last = memory[len(memory) // 4 : len(memory) // 2], memory[-len(memory) // 4 :]
        assert max(last) < 1.02 * max(first)


def still_on(happened):
    """Returns the troubles that have begun and not ended; says so if one ended that had not begun."""
    begun = set()
    for _, kind in list(happened):
        if kind in ENDS:
            assert begun & ENDS[kind], f"{kind} without a beginning"
            begun -= ENDS[kind]
        elif any(kind in beginnings for beginnings in ENDS.values()):
            begun.add(kind)
    return begun


def check_events(happened, folder, wanted):
    """Every event is there once and in order, in the process and in its log."""
    assert [sequence for sequence, _ in happened] == list(range(len(happened)))
    assert wanted <= {kind for _, kind in happened}
    files = sorted(
        folder.glob("run.jsonl*"), key=lambda path: -int(path.suffix[1:]) if path.suffix[1:].isdigit() else 1
    )
    logged = [json.loads(line) for path in files for line in path.read_text().splitlines()]
    in_log = [(line["sequence"], line["kind"]) for line in logged if line["type"] == "event"]
    assert in_log
    assert in_log == happened[-len(in_log) :]
