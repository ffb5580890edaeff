"""A run for a long time with faults at random: nothing grows, nothing is left, events stay in order.

Faults: the disk refuses writes of the recording and of the log (doubles of a full disk), viewers and hostile
clients come and go, and, through `CAMERA_FAULTS`, the camera.
"""

import gc
import json
import random
import threading
import time

import psutil
import pytest
from serving import MovingSource, free_port, running_loop
from test_hostile import clients

from jetseg.camera.sinks import background, segments
from jetseg.cli.run_outputs import OutputOptions
from jetseg.monitor import run_log

pytest.importorskip("uvicorn", reason="uvicorn (extra `dashboard`) is not installed")
pytest.importorskip("av", reason="PyAV (extra `record`) is not installed")


def stall(source):
    """The camera gives nothing for a second."""
    source.stalled_until = time.perf_counter() + 1.0


CAMERA_FAULTS = [stall]
"""Each takes the source; faults of a real camera's source go here too."""


class FaultySource(MovingSource):
    stalled_until = 0.0

    def read(self):
        time.sleep(max(0.0, self.stalled_until - time.perf_counter()))
        return super().read()


class FaultyDisk:
    """Refuses writes while `full`; stands for a full disk."""

    def __init__(self, monkeypatch):
        self.full = False
        add, write = segments._Segment.add, run_log.RunLog._write

        def refuse_if_full(original):
            def call(*arguments):
                if self.full:
                    raise OSError(28, "No space left on device")
                return original(*arguments)

            return call

        monkeypatch.setattr(segments._Segment, "add", refuse_if_full(add))
        monkeypatch.setattr(run_log.RunLog, "_write", refuse_if_full(write))
        monkeypatch.setattr(background, "RETRY_SECONDS", 0.5)
        monkeypatch.setattr(run_log, "RETRY_SECONDS", 0.5)


@pytest.mark.parametrize(
    "seconds",
    [
        8,
        pytest.param(120, marks=pytest.mark.slow),
        pytest.param(1800, marks=[pytest.mark.slow, pytest.mark.timeout(2400)]),
    ],
)
def test_nothing_grows_and_nothing_is_left(seconds, tmp_path, monkeypatch):
    process, rng, disk = psutil.Process(), random.Random(0), FaultyDisk(monkeypatch)
    threads_before, port = set(threading.enumerate()), free_port()
    files_before = process.num_fds()
    options = OutputOptions(
        record=tmp_path / "record",
        segment_seconds=2.0,
        record_gb=0.01,
        log=tmp_path / "run.jsonl",
        ring=f"jetseg-soak-{port}",
        dashboard=port,
        metrics=0,
    )
    with running_loop(options, source=FaultySource(None, live=True, delay=0.02)) as running:
        memory, files = [], []
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            fault = rng.choice(["disk", "viewer", "hostile", "camera", "none"]) if memory else "disk"
            if fault == "disk":
                disk.full = True
                time.sleep(0.5)
                disk.full = False
            elif fault == "camera":
                rng.choice(CAMERA_FAULTS)(running.source)
            elif fault != "none":
                kinds = ["viewer"] if fault == "viewer" else ["never-reads", "many-connections"]
                with clients(port, *kinds):
                    time.sleep(rng.uniform(0.5, 2.0))
            time.sleep(rng.uniform(0.3, 1.0))
            running.events.add("tick", "info", fault)
            gc.collect()
            memory.append(process.memory_info().rss)
            files.append(process.num_fds())
        frames = running.statistics.rate.count
    assert frames > 5 * seconds
    sequences = [event.sequence for event in running.events.recent()]
    assert sequences == sorted(sequences)
    logged = [json.loads(line) for path in log_files(tmp_path) for line in path.read_text().splitlines()]
    in_log = [line["sequence"] for line in logged if line["type"] == "event"]
    assert in_log == list(range(in_log[0], in_log[0] + len(in_log)))
    assert any(line["kind"] == "recording-resumed" for line in logged if line["type"] == "event")
    gone(threads_before)
    gc.collect()
    assert process.num_fds() <= files_before
    assert max(files) < 200
    if seconds > 60:  # a short run has not filled its histograms, its histories and its allocator yet
        first, last = memory[len(memory) // 4 : len(memory) // 2], memory[-len(memory) // 4 :]
        assert max(last) < 1.02 * max(first)


def log_files(folder):
    return sorted(folder.glob("run.jsonl*"), key=lambda path: -int(path.suffix[1:]) if path.suffix[1:].isdigit() else 1)


def gone(threads_before):
    assert not [thread.name for thread in threading.enumerate() if thread not in threads_before]
