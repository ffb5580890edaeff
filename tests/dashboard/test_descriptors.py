"""A process that has no descriptors left says so once, goes on, and answers again when it has some."""

import http.client
import os
import resource
import socket
import time
from contextlib import contextmanager

import pytest
from serving import free_port, running_loop

pytest.importorskip("uvicorn", reason="uvicorn (extra `dashboard`) is not installed")
pytest.importorskip("prometheus_client", reason="prometheus-client (extra `dashboard`) is not installed")


@contextmanager
def no_free_descriptor():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def kinds(running):
    return [event.kind for event in running.events.recent()]


def wait_for(condition):
    until = time.perf_counter() + 10
    while not condition():
        assert time.perf_counter() < until, "it did not happen in time"
        time.sleep(0.01)


@pytest.mark.long
def test_lack_of_descriptors_is_one_event_and_the_loop_goes_on(capfd, caplog):
    port = free_port()
    with running_loop(metrics=port) as running:
        wait_for(lambda: running.statistics.rate.count > 5)
        clients = [socket.socket() for _ in range(5)]
        with no_free_descriptor():
            for client in clients:
                client.connect(("127.0.0.1", port))
            wait_for(lambda: "connections-stopped" in kinds(running))
            count, until = running.statistics.rate.count, time.perf_counter() + 2.2  # asyncio tries each second
            while time.perf_counter() < until:
                time.sleep(0.05)
            assert running.statistics.rate.count > count + 20
            assert kinds(running).count("connections-stopped") == 1
        for client in clients:
            client.close()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/metrics")
        assert b"jetseg_frames_total" in connection.getresponse().read()
        connection.close()
        wait_for(lambda: kinds(running)[-1] == "connections-resumed")
        assert len(kinds(running)) <= 3, kinds(running)  # the figures lack files of the system as well
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")
    assert not [record for record in caplog.records if record.name.startswith(("asyncio", "uvicorn"))]
