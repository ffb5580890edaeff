"""What clients do must not reach the loop.

The bound here is wide, because the clients need a core of their own and tests may not have it;
bench/dashboard.py gives the ratio on a quiet machine.
"""

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, sleep

import psutil
import pytest
from camera_fakes import FakeRunner
from serving import free_port, running_loop

pytest.importorskip("uvicorn", reason="uvicorn (extra `dashboard`) is not installed")
CLIENTS = Path(__file__).parents[2] / "bench" / "dashboard_clients.py"


@contextmanager
def clients(port, *kinds):
    command = [sys.executable, str(CLIENTS), str(port), *kinds]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        yield
        process.communicate(timeout=20)


def rate(statistics, seconds):
    count, started = statistics.rate.count, perf_counter()
    sleep(seconds)
    return (statistics.rate.count - count) / (perf_counter() - started)


@pytest.mark.long
def test_hostile_clients_do_not_slow_the_loop_and_leave_nothing():
    port, process = free_port(), psutil.Process()
    with running_loop(dashboard=port, delay=0.002, runner=FakeRunner(0.02)) as running:
        quiet, disturbed = [], []
        for _ in range(2):
            quiet.append(rate(running.statistics, 0.7))
            with clients(port, "viewer", "never-reads", "many-connections"):
                disturbed.append(rate(running.statistics, 1.2))
                assert process.num_fds() < 150
        assert max(disturbed) > 0.5 * max(quiet)
        assert not running.events.recent()
