import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

from jetseg.errors import StorageError
from jetseg.monitor.engine_speed import EngineSpeed
from jetseg.monitor.events import EventLog
from jetseg.monitor.observer import Observer
from jetseg.monitor.run_log import RunLog
from jetseg.monitor.statistics import LoopStatistics


def records(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_events_and_figures_are_lines_in_order(tmp_path):
    events = EventLog()
    observer = Observer(LoopStatistics(EngineSpeed(50.0, 1, outputs_stay=True), events=events))
    log = RunLog(tmp_path / "logs", events, statistics_seconds=60)
    for index in range(5):
        events.add("camera-lost", "warning", f"number {index}", silent_s=float("nan"))
        log.add_observation(observer.observe())
    log.add_last(observer.observe())
    log.close()
    lines = records(tmp_path / "logs" / "jetseg.jsonl")
    assert [line["sequence"] for line in lines if line["type"] == "event"] == [0, 1, 2, 3, 4]
    assert lines[0]["values"] == {"silent_s": None}
    figures = [line for line in lines if line["type"] == "statistics"]
    assert len(figures) == 2  # the first and the last: a minute lies between the others
    assert figures[0]["summary"]["engine_frames_per_second"] == 50.0


def test_every_new_window_of_the_estimate_is_a_line(tmp_path):
    events, windows = EventLog(), iter([None, None, 1, 1, 2])
    statistics = LoopStatistics(EngineSpeed(50.0, 1, outputs_stay=True), events=events)
    observer = Observer(statistics, further=lambda: {"estimate": {"window": next(windows), "miou": 50.0}})
    log = RunLog(tmp_path / "logs", events, statistics_seconds=60)
    for _ in range(4):
        log.add_observation(observer.observe())
    log.close()
    lines = [line for line in records(tmp_path / "logs" / "jetseg.jsonl") if line["type"] == "estimate"]
    assert [(line["window"], line["miou"]) for line in lines] == [(1, 50.0), (2, 50.0)]
    assert all(line["at"] > 0 for line in lines)


def test_files_rotate_and_the_oldest_goes(tmp_path):
    events = EventLog()
    log = RunLog(tmp_path / "run.jsonl", events, limit_bytes=2000, kept_files=2)
    for index in range(100):
        events.add("tick", "info", f"number {index}")
    log.close()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["run.jsonl", "run.jsonl.1", "run.jsonl.2"]
    order = [line["sequence"] for name in reversed(names) for line in records(tmp_path / name)]
    assert order == list(range(order[0], 100))
    assert all((tmp_path / name).stat().st_size <= 2000 for name in names)


def test_kill_leaves_whole_lines_and_the_next_run_goes_on_after_them(tmp_path):
    code = (
        "import sys, os, signal, time\nfrom pathlib import Path\n"
        "from jetseg.monitor.events import EventLog\nfrom jetseg.monitor.run_log import RunLog\n"
        "events = EventLog(); log = RunLog(Path(sys.argv[1]), events)\n"
        "for index in range(500): events.add('tick', 'info', 'x' * (index % 300)); time.sleep(0)\n"
        "time.sleep(0.3); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = tmp_path / "run.jsonl"
    killed = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [line["sequence"] for line in records(path)] == list(range(500))
    with path.open("ab") as file:
        file.write(b'{"half": ')
    events = EventLog()
    log = RunLog(path, events)
    events.add("tick", "info", "after")
    log.close()
    *_, half, whole = path.read_text().splitlines()
    assert half == '{"half": '
    assert json.loads(whole)["text"] == "after"


def test_deleted_folder_comes_back_with_an_event(tmp_path):
    events = EventLog()
    log = RunLog(tmp_path / "a" / "logs", events)
    path = tmp_path / "a" / "logs" / "jetseg.jsonl"
    events.add("tick", "info", "before")
    wait_for(lambda: path.read_bytes().endswith(b"\n"))
    shutil.rmtree(tmp_path / "a")
    events.add("tick", "info", "after")
    log.close()
    assert [(line["kind"], line["severity"]) for line in records(path)] == [
        ("tick", "info"),
        ("log-deleted", "warning"),
    ]
    assert records(path)[0]["text"] == "after"
    assert kinds(events) == ["tick", "tick", "log-deleted"]


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="a small file system needs root on Linux")
def test_full_disk_is_an_event_and_lines_wait_for_space(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], check=False).returncode:
        pytest.skip("this container may not mount")
    try:
        (disk / "ballast").write_bytes(bytes(40_000))
        events = EventLog()
        log = RunLog(disk / "run.jsonl", events, retry_seconds=0.05)
        for _ in range(100):
            events.add("tick", "info", "x" * 400)
        wait_for(lambda: "log-stopped" in kinds(events))
        (disk / "ballast").unlink()
        wait_for(lambda: "log-resumed" in kinds(events))
        log.close()
        lines = records(disk / "run.jsonl")
        assert [line["sequence"] for line in lines][:101] == list(range(101))
        assert [kind for kind in kinds(events) if kind != "tick"] == ["log-stopped", "log-resumed"]
    finally:
        subprocess.run(["umount", disk], check=True)


def test_read_only_disk_is_an_event_that_says_so(tmp_path, monkeypatch):
    events = EventLog()
    log = RunLog(tmp_path / "run.jsonl", events)

    def refuse(*_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("jetseg.monitor.run_log.os.write", refuse)
    events.add("tick", "info", "x")
    wait_for(lambda: "log-stopped" in kinds(events))
    log.close()
    assert events.recent()[-1].text == (
        f"The log stopped: {tmp_path / 'run.jsonl'} could not be written: Read-only file system. "
        "Free some space or give another place; files that were there before are unchanged."
    )


def test_write_that_is_refused_does_not_hold_up_the_end(tmp_path, monkeypatch):
    """A double of the full disk, for machines where no file system can be mounted."""
    events = EventLog()
    log = RunLog(tmp_path / "run.jsonl", events)

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("jetseg.monitor.run_log.os.write", refuse)
    events.add("tick", "info", "x")
    wait_for(lambda: "log-stopped" in kinds(events))
    for _ in range(2000):
        events.add("tick", "info", "x")
    assert log.lost > 900
    started = time.perf_counter()
    log.close()
    assert time.perf_counter() - started < 2
    assert not any(thread.name == "jetseg-log" for thread in threading.enumerate())


def test_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"run\.jsonl could not be written"):
        RunLog(tmp_path / "file" / "run.jsonl", EventLog())


def kinds(events):
    return [event.kind for event in events.recent()]


def wait_for(condition, seconds=10.0):
    until = time.perf_counter() + seconds
    while not condition():
        assert time.perf_counter() < until, "it did not happen in time"
        time.sleep(0.005)
