"""A supervisor hears of a run by sd_notify, and what it hears is true: silence means that the loop stands still."""

import signal
import sys
import textwrap

import pytest
from small_network import write_small_network
from supervisor import Supervised

RUN = [sys.executable, "-m", "jetseg", "run", "small.onnx", "--no-labels", "--threads", "1"]
HOLDS_THE_LOCK = """
    import ctypes, os, pathlib, threading, onnxruntime
    real, left, mark = onnxruntime.InferenceSession.run, [20], pathlib.Path("hung")

    def run(self, *arguments, **named):
        left[0] -= threading.current_thread().name == "jetseg-infer"
        if left[0] < 0 and not mark.exists():
            mark.touch()
            ctypes.PyDLL(None).sleep(600)  # a library that keeps Python's own lock: no thread of ours can notice
        return real(self, *arguments, **named)

    onnxruntime.InferenceSession.run = run
    from jetseg.cli.main import main
    main()
"""


@pytest.fixture
def place(tmp_path):
    write_small_network(tmp_path)
    return tmp_path


@pytest.mark.long
@pytest.mark.parametrize("abstract", [False, True])
def test_ready_comes_with_the_first_frame_then_the_watchdog_and_stopping(place, abstract):
    with Supervised([*RUN, "--source", "synthetic"], place, abstract=abstract) as supervised:
        ready = supervised.wait_for("READY", "1")
        first = supervised.wait_for("WATCHDOG", "1")
        supervised.wait_for("WATCHDOG", "1", after=first)
        assert first >= ready
        assert supervised.stop() == 0
        supervised.wait_for("STOPPING", "1")
    assert (supervised.count("STARTED"), supervised.count("READY")) == (1, 1)


@pytest.mark.long
def test_a_camera_that_is_not_there_yet_makes_the_start_longer_and_nothing_is_ready(place):
    with Supervised([*RUN, "--source", "97", "--wait"], place) as supervised:
        first = supervised.wait_for("EXTEND_TIMEOUT_USEC")
        supervised.wait_for("STATUS", "waiting for the first frame")
        supervised.wait_for("EXTEND_TIMEOUT_USEC", after=first)
        assert supervised.stop() == 0
    assert not supervised.count("READY")
    assert not supervised.count("WATCHDOG")


@pytest.mark.long
def test_a_loop_that_even_python_cannot_see_hanging_is_killed_and_comes_back(place):
    command = [sys.executable, "-c", textwrap.dedent(HOLDS_THE_LOCK), *RUN[3:], "--source", "synthetic"]
    with Supervised(command, place, watchdog_seconds=2.0) as supervised:
        killed = supervised.wait_for("KILLED", "watchdog")
        supervised.wait_for("READY", after=killed)
        assert supervised.stop(signal.SIGHUP) == 0
    assert (place / "hung").exists()


@pytest.mark.long
def test_what_ends_is_started_again(place):
    with Supervised([*RUN, "--source", "synthetic"], place) as supervised:
        supervised.wait_for("READY")
        supervised.process.kill()
        ended = supervised.wait_for("ENDED", "-9")
        supervised.wait_for("READY", after=ended)
        assert supervised.stop() == 0
