"""The watch over the main thread takes signals without taking them from others."""

import os
import signal
import subprocess
import sys
import textwrap
import threading

import pytest

from jetseg import main_thread
from jetseg.main_thread import SIGNALS, LimitConfig, current_limits, limit, working
from jetseg.process_watch import ProcessWatch


def test_signals_are_given_back(monkeypatch):
    before = [signal.getsignal(number) for number in SIGNALS]
    with ProcessWatch(lambda: "test"):
        assert [signal.getsignal(number) for number in SIGNALS] != before
        limit(LimitConfig(watchdog_seconds=7))
        assert current_limits().watchdog_seconds == 7
    assert [signal.getsignal(number) for number in SIGNALS] == before
    assert signal.set_wakeup_fd(-1) == -1


def test_a_closed_terminal_does_not_end_what_nohup_started():
    earlier = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ProcessWatch(lambda: "test") as watch:
            os.kill(os.getpid(), signal.SIGHUP)
        assert watch.asked is None
    finally:
        signal.signal(signal.SIGHUP, earlier)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_interrupts_and_is_the_reason(number):
    with ProcessWatch(lambda: "test") as watch:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        assert watch.failure.exit_code == 128 + number


@pytest.mark.long
def test_calls_that_come_back_are_not_hanging_and_inner_ones_renew_outer_ones(tmp_path):
    script = """
        import time
        from jetseg.main_thread import LimitConfig, limit, working
        from jetseg.process_watch import ProcessWatch
        with ProcessWatch(lambda: "test"):
            limit(LimitConfig(watchdog_seconds=1.0))
            with working("outer"):
                for _ in range(4):
                    with working("inner"):
                        time.sleep(0.4)
            time.sleep(1.5)  # outside of any call
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_call_in_another_thread_is_not_the_watch_s_business():
    def work():
        with working("beside"):
            assert not main_thread.MAIN.calls

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_the_end_of_a_forked_child_is_not_that_of_its_parent():
    script = """
        import os, signal, time
        from jetseg.process_watch import ProcessWatch
        with ProcessWatch(lambda: "test") as watch:
            child = os.fork()
            if child == 0:
                time.sleep(60)
            os.kill(child, signal.SIGTERM)
            assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGTERM
            time.sleep(0.5)  # for a watch that would hear of it
            assert watch.asked is None
    """
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")
