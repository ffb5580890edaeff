import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from contextlib import contextmanager

import pytest
from color_network import write_color_network
from results import frames_in

from jetseg.camera.sinks.ring import SHARED_MEMORY, RingReader

pytest.importorskip("av", reason="PyAV (extra `record`) is not installed")
pytest.importorskip("uvicorn", reason="uvicorn (extra `dashboard`) is not installed")


@pytest.fixture
def network(tmp_path):
    return write_color_network(tmp_path)


@contextmanager
def running(network, *options):
    """Runs `jetseg run` on the synthetic drive in another process, which gets killed at the end."""
    code = "from jetseg.cli.main import main; main()"
    command = [sys.executable, "-c", code, "run", network, "--source", "synthetic", "--threads", 1, *options]
    process = subprocess.Popen(
        [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        for line in process.stderr:
            if "Running on synthetic" in line:
                break
        try:
            yield process
        finally:
            process.kill()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def wait_for(condition, seconds=30.0):
    until = time.perf_counter() + seconds
    while not condition():
        assert time.perf_counter() < until, "it did not happen in time"
        time.sleep(0.02)


def get(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return answer.read().decode()


@pytest.mark.long
@pytest.mark.parametrize(
    "delay", [1.5, *(pytest.param(delay, marks=pytest.mark.slow) for delay in (0.05, 0.31, 0.62, 0.97, 1.18, 2.04))]
)
def test_kill_leaves_a_recording_that_plays_and_a_log_that_can_be_read(network, tmp_path, delay):
    record, log = tmp_path / "record", tmp_path / "log"
    options = ["--record", record, "--segment-seconds", 1, "--log", log]
    with running(network, *options) as process:
        wait_for(lambda: len(list(record.glob("*.mp4"))) >= 2)
        time.sleep(delay)  # into a segment that is under way
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    counts = [frames_in(path) for path in sorted(record.glob("*.mp4"))]
    assert len(counts) >= 2
    assert all(count > 0 for count in counts[:-1])  # the last one may have been killed within its first second
    lines = [json.loads(line) for line in (log / "jetseg.jsonl").read_text().splitlines()]
    assert lines[0]["type"] == "statistics"


@pytest.mark.long
@pytest.mark.skipif(not SHARED_MEMORY.is_dir(), reason="this system has no /dev/shm")
def test_everything_at_once_and_the_end(network, tmp_path):
    dashboard, metrics, ring = free_port(), free_port(), f"jetseg-test-{uuid.uuid4().hex}"
    maps, log = tmp_path / "maps", tmp_path / "run.jsonl"
    options = ["--dashboard", dashboard, "--metrics", metrics, "--ring", ring, "--class-maps", maps, "--log", log]
    with running(network, *options, "--json") as process:
        wait_for(lambda: len(list(maps.glob("*.png"))) > 3)
        reader = RingReader(ring)
        wait_for(lambda: reader.newest() is not None)
        assert reader.newest().class_map_hw_u8.shape == (48, 80)
        wait_for(lambda: json.loads(get(dashboard, "/state"))["point"]["frames"] > 0)
        wait_for(lambda: "jetseg_frame_age_seconds{" in get(metrics, "/metrics"))
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    summary = json.loads(output)
    assert summary["host"]["process_mb"] > 10
    assert "throttled_seconds" in summary["host"]
    assert reader.ended
    assert not (SHARED_MEMORY / ring).exists()
    last = json.loads(log.read_text().splitlines()[-1])
    assert last["summary"]["frames"] == summary["frames"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--publish", "nowhere"], 2, "nowhere cannot be bound"),
        (["--ring", "a/b"], 2, "is no name for shared memory"),
        (["--log", "{file}/x.jsonl"], 3, "could not be written"),
        (["--record", "{file}/x"], 3, "could not be written"),
        (["--dashboard", "{port}"], 2, "--dashboard cannot use port"),
        (["--metrics", "{port}"], 2, "--metrics cannot use port"),
        (["--dashboard", "0", "--dashboard-host", "no.such.host.invalid"], 2, "--dashboard cannot use port"),
    ],
)
def test_mistakes_show_before_the_run(network, tmp_path, arguments, code, message, jetseg):
    pytest.importorskip("zmq", reason="pyzmq (extra `publish`) is not installed")
    (tmp_path / "file").write_text("")
    with socket.create_server(("127.0.0.1", 0)) as server:
        places = {"file": tmp_path / "file", "port": server.getsockname()[1]}
        given = [argument.format(**places) for argument in arguments]
        found, out, err = jetseg("run", network, "--source", "synthetic:2", *given)
    assert found == code
    assert message in " ".join(err.split())
    assert out == ""


def test_machine_is_in_the_summary(network, jetseg):
    code, _, err = jetseg("run", network, "--source", "synthetic:3", "--threads", 1)
    assert code == 0
    assert "machine:" in err


def test_sinks_are_opened_by_name(network, tmp_path, jetseg):
    sinks = ["--sink", f"class_map_files:{tmp_path / 'maps'}", "--sink", f"video:{tmp_path / 'out.mp4'}"]
    code, _, err = jetseg("run", network, "--source", "synthetic:3", "--threads", 1, *sinks)
    assert code == 0, err
    assert len(list((tmp_path / "maps").glob("*.png"))) == frames_in(tmp_path / "out.mp4") == 3
    code, _, err = jetseg("run", network, "--source", "synthetic:3", "--sink", "nowhere:x")
    assert code == 2
    assert "Known forms: video:FILE.mp4, segments:DIR" in " ".join(err.split())


def test_help_lists_what_is_registered(jetseg):
    code, out, _ = jetseg("run", "--help")
    assert code == 0
    words = out.replace("\u2502", " ").replace(",", " ").replace(".", " ").replace(";", " ").split()
    assert {"csi", "synthetic", "camvid", "segments", "class_map_files", "ring", "publish", "window"} <= set(words)
