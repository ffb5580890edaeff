"""What a supervisor is told, and what it is not."""

import os
import socket
from time import perf_counter

import pytest
from camera_fakes import ANY_SPEED

from jetseg.monitor.observer import Observer
from jetseg.monitor.statistics import LoopStatistics
from jetseg.monitor.supervisor import Supervisor


@pytest.fixture
def heard(tmp_path):
    """Gives a function that returns what came to the socket since the last call, and the socket's address."""
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    receiver.bind(str(tmp_path / "notify"))

    def listen():
        lines = []
        while True:
            try:
                lines += receiver.recv(4096).decode().splitlines()
            except BlockingIOError:
                return lines

    with receiver:
        yield listen, str(tmp_path / "notify")


def test_the_watchdog_is_fed_by_frames_and_by_an_idle_wait_and_by_nothing_else(heard):
    listen, address = heard
    statistics = LoopStatistics(ANY_SPEED)
    observer = Observer(statistics)
    supervisor = Supervisor(address, watched=True)
    look = lambda: [supervisor._hear(observer.observe()), listen()][1]  # noqa: E731
    assert look() == ["STATUS=waiting for the first frame"]
    assert look() == []
    statistics.waits += 1
    assert look() == ["EXTEND_TIMEOUT_USEC=30000000"]
    statistics.add_class_map(perf_counter(), perf_counter())
    assert look()[:2] == ["READY=1", "WATCHDOG=1"]
    assert "WATCHDOG=1" not in look()
    statistics.waits += 1  # the camera is away, and nothing is at work
    assert "WATCHDOG=1" in look()
    with statistics.busy("infer"):  # a frame is, and does not come back
        statistics.waits += 1
        assert "WATCHDOG=1" not in look()
    statistics.add_class_map(perf_counter(), perf_counter())
    assert "WATCHDOG=1" in look()


def test_a_camera_that_has_no_frame_yet_does_not_have_ready_said_again(heard):
    listen, address = heard
    first, second = LoopStatistics(ANY_SPEED), LoopStatistics(ANY_SPEED)
    supervisor = Supervisor(address)
    first.add_class_map(perf_counter(), perf_counter())
    for observer in [Observer(first), Observer(second)] * 2:
        supervisor._hear(observer.observe())
    assert listen().count("READY=1") == 1


@pytest.mark.parametrize(
    ("period", "process", "watched"),
    [("2000000", None, True), ("2000000", "own", True), ("2000000", "1", False), ("", None, False), ("x", None, False)],
)
def test_the_environment_says_who_listens_and_is_not_handed_on(heard, period, process, watched):
    listen, address = heard
    environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": period, "HOME": "/"}
    if process is not None:
        environment["WATCHDOG_PID"] = str(os.getpid()) if process == "own" else process
    supervisor = Supervisor.take(environment)
    assert environment == {"HOME": "/"}
    statistics = LoopStatistics(ANY_SPEED)
    statistics.add_class_map(perf_counter(), perf_counter())
    observer = Observer(LoopStatistics(ANY_SPEED))
    observer._statistics = statistics
    supervisor._hear(observer.observe())
    assert ("WATCHDOG=1" in listen()) == watched


@pytest.mark.parametrize("address", ["", "vsock:2:1234", "relative"])
def test_without_a_socket_of_the_kind_there_is_no_supervisor(address):
    assert Supervisor.take({"NOTIFY_SOCKET": address}) is None


def test_what_a_busy_supervisor_did_not_take_is_said_again(heard):
    listen, address = heard
    statistics = LoopStatistics(ANY_SPEED)
    observer, supervisor = Observer(statistics), Supervisor(address)
    while supervisor._tell("STATUS=until its queue is full"):
        pass
    statistics.add_class_map(perf_counter(), perf_counter())
    supervisor._hear(observer.observe())
    assert "READY=1" not in listen()
    supervisor._hear(observer.observe())
    assert "READY=1" in listen()
    supervisor._hear(observer.observe())
    assert "READY=1" not in listen()


def test_a_supervisor_that_went_away_disturbs_nobody(tmp_path):
    assert not Supervisor(str(tmp_path / "gone"))._tell("READY=1")
