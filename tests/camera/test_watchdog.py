"""A stage that hangs ends the run, and the process even if it is the main thread that hangs."""

import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from camera_fakes import ANY_SPEED, Collector, FakeRunner, FakeSource
from live_fakes import FakeCamera, kinds, wait_for

from jetseg.camera import loop, pipeline
from jetseg.camera.config import LiveLimits, LoopConfig
from jetseg.camera.loop import new_statistics
from jetseg.camera.sources.live.live_source import LiveSource
from jetseg.errors import StageStoppedError
from jetseg.monitor.events import EventLog

TESTS = Path(__file__).parent
CONFIG = LoopConfig(watchdog_seconds=0.5, seconds=20)


@pytest.fixture
def hang():
    """Gives a function that hangs until the test ends."""
    released = threading.Event()
    before = set(threading.enumerate())
    yield lambda: released.wait(60)
    released.set()
    assert wait_for(lambda: set(threading.enumerate()) <= before)


@pytest.mark.parametrize("stage", ["capture", "preprocess", "infer"])
def test_a_stage_that_hangs_ends_the_run_with_its_name(stage, hang, monkeypatch):
    source, runner = FakeSource(None, live=True, delay=0.002), FakeRunner()
    target, name = {
        "capture": (source, "read"),
        "preprocess": (pipeline.Preprocessor, "__call__"),
        "infer": (runner, "infer"),
    }[stage]
    real, calls = getattr(target, name), []

    def hangs_at_fifth(*arguments):
        calls.append(0)
        return real(*arguments) if len(calls) < 5 else hang()

    monkeypatch.setattr(target, name, hangs_at_fifth)
    statistics = new_statistics(runner, source, engine=ANY_SPEED)
    told = []
    with pytest.raises(StageStoppedError, match=f"The {stage} stage stopped: it has not come back for") as caught:
        loop.run_loop(CONFIG, runner, source, [Collector()], statistics=statistics, give_up=told.append)
    assert caught.value.exit_code == 4
    assert statistics.seconds < 10
    assert kinds(statistics.events) == ["stage-stopped"]
    assert statistics.events.recent()[0].values == {"stage": stage}
    assert wait_for(lambda: told == [caught.value])
    summary = statistics.summary()
    assert summary.captured == summary.frames + summary.dropped + summary.corrupt


@pytest.mark.parametrize("waits_for", ["source", "camera", "sink"])
def test_waiting_is_not_hanging(waits_for):
    camera, events = FakeCamera(), EventLog()
    source = FakeSource(8, delay=0.35 if waits_for == "source" else 0)
    if waits_for == "camera":
        source = LiveSource("fake", camera.connect, events, LiveLimits(), connection=camera.connect())
        threading.Timer(0.3, setattr, (camera, "present", False)).start()
    sink = Collector(delay=0.35 if waits_for == "sink" else 0)
    runner = FakeRunner()
    statistics = new_statistics(runner, source, engine=ANY_SPEED, events=events)
    config = LoopConfig(watchdog_seconds=1.0, seconds=2.5)
    loop.run_loop(config, runner, source, [sink], statistics=statistics)
    assert "stage-stopped" not in kinds(events)


def test_a_main_thread_that_hangs_is_ended_from_outside():
    script = f"""
        import os, sys, threading, time
        sys.path.insert(0, {str(TESTS)!r})
        from camera_fakes import ANY_SPEED, Collector, FakeRunner, FakeSource
        from jetseg.camera import loop
        from jetseg.camera.config import LoopConfig
        from jetseg.camera.loop import new_statistics

        class Hanging(Collector):
            def write(self, result):
                if result.frame.sequence > 3:
                    time.sleep(60)

        def give_up(error):
            sys.stderr.write(str(error))
            sys.stderr.flush()
            os._exit(error.exit_code)

        source, runner = FakeSource(None, live=True, delay=0.002), FakeRunner()
        statistics = new_statistics(runner, source, engine=ANY_SPEED)
        loop.run_loop(LoopConfig(watchdog_seconds=0.5), runner, source, [Hanging()], statistics=statistics, give_up=give_up)
    """
    started = time.perf_counter()
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=50, check=False
    )
    assert result.returncode == 4, result.stderr
    assert "The output stage stopped" in result.stderr
    assert time.perf_counter() - started < 40
