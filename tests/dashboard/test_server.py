import http.client
import socket
import sys
import threading
import time

import pytest

pytest.importorskip("uvicorn", reason="uvicorn (extra `dashboard`) is not installed")
pytest.importorskip("starlette", reason="Starlette (extra `dashboard`) is not installed")

from jetseg.dashboard import connection as connection_module
from jetseg.dashboard.connection import MOST_CONNECTIONS, first_to_go
from jetseg.dashboard.guard import Guard
from jetseg.dashboard.server import PageServer
from jetseg.errors import ConfigError, MissingDependencyError
from jetseg.monitor.events import EventLog


async def app(scope, receive, send):
    body = b"x" * (8_000_000 if scope["path"] == "/large" else 10)
    if scope["path"] == "/broken":
        raise RuntimeError("out of order")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
def served(monkeypatch):
    monkeypatch.setattr(connection_module, "_CHECK_SECONDS", 0.1)
    before, events = set(threading.enumerate()), EventLog()
    guarded = Guard(app, "127.0.0.1", events)
    bounds = connection_module.Bounds(request_seconds=0.6, answer_seconds=2.0)
    with PageServer(guarded, "127.0.0.1", 0, setting="metrics", events=events, bounds=bounds) as server:
        server.events = events
        yield server
    assert set(threading.enumerate()) == before
    assert server.connections == 0


def ask(server, path="/", method="GET", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer, content


def connect(server):
    return socket.create_connection(("127.0.0.1", server.port), timeout=10)


def is_cut(client):
    """Tells whether the server ended a connection, waiting for that at most five seconds."""
    client.settimeout(5)
    try:
        while client.recv(1 << 20):
            pass
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False
    return True


def wait_for(condition, seconds=10.0):
    until = time.perf_counter() + seconds
    while not condition():
        assert time.perf_counter() < until, "it did not happen in time"
        time.sleep(0.01)


def test_answers_carry_what_keeps_other_sites_out(served):
    answer, content = ask(served)
    assert (answer.status, len(content)) == (200, 10)
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert answer.headers["access-control-allow-origin"] is None


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "192.168.1.4", "", "[::2]"])
def test_other_names_are_refused_on_loopback(served, host):
    assert ask(served, Host=host)[0].status == 421


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1", "127.0.0.1:1", "[::1]:8080", "LOCALHOST"])
def test_own_names_are_answered_on_loopback(served, host):
    assert ask(served, Host=host)[0].status == 200


def test_beyond_loopback_addresses_and_the_own_name_are_answered():
    guard = Guard(app, "0.0.0.0", EventLog())
    assert guard.allows("192.168.1.4:8080")
    assert guard.allows(socket.gethostname())
    assert not guard.allows("evil.example")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_only_reading_is_answered(served, method):
    assert ask(served, method=method)[0].status == 405


def test_answer_that_fails_is_one_event(served):
    for _ in range(3):
        assert ask(served, "/broken")[0].status == 500
    assert [(event.kind, event.text) for event in served.events.recent()] == [
        ("page-failed", "/broken could not be answered: out of order")
    ]


def test_reader_that_never_reads_is_cut(served):
    client = connect(served)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
    wait_for(lambda: served.connections == 1)
    wait_for(lambda: served.connections == 0)
    client.close()


def test_slow_reader_gets_everything(served):
    client = connect(served)
    client.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    received = 0
    while data := client.recv(400_000):
        received += len(data)
        time.sleep(0.05)
    assert received > 8_000_000
    client.close()


def test_client_that_says_nothing_is_cut(served):
    client = connect(served)
    assert is_cut(client)
    client.close()


def test_request_that_comes_a_byte_at_a_time_is_cut(served):
    head = b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n"
    for start in (b"", head):  # the head, the body
        client = connect(served)
        client.sendall(start)
        until = time.perf_counter() + 3
        with pytest.raises(OSError, match=r"pipe|reset"):
            while time.perf_counter() < until:
                client.sendall(b"x")
                time.sleep(0.05)
        client.close()


def test_answer_that_is_taken_a_byte_at_a_time_is_cut(served):
    client = connect(served)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
    wait_for(lambda: served.connections == 1)
    wait_for(lambda: client.recv(1) and not served.connections, 4)
    client.close()


def test_nobody_is_locked_out_by_clients_that_hold_every_connection():
    with PageServer(
        Guard(app, "127.0.0.1", EventLog()), "127.0.0.1", 0, setting="metrics", events=EventLog()
    ) as server:
        viewer, clients = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10), []
        for count in (MOST_CONNECTIONS, 8, 8):
            clients += [connect(server) for _ in range(count)]
            for client in clients[-count:]:
                client.sendall(b"G")
            started = time.perf_counter()
            viewer.request("GET", "/")
            assert viewer.getresponse().read() == b"x" * 10
            assert ask(server)[0].status == 200
            assert time.perf_counter() - started < 1
            assert server.connections <= MOST_CONNECTIONS
        viewer.close()
        for client in clients:
            client.close()


def test_client_with_most_connections_makes_room():
    class Connection:
        def __init__(self, host, since, was_answered=False):
            self.client, self.since, self.was_answered = (host, 1), since, was_answered

    greedy, viewer = [Connection("10.0.0.1", since) for since in (3, 2, 4)], Connection("10.0.0.2", 1)
    assert first_to_go({*greedy, viewer}) is greedy[1]
    answered = Connection("10.0.0.1", 0, was_answered=True)
    assert first_to_go({*greedy, viewer, answered}) is greedy[1]


def test_many_connections_are_cut_and_those_after_them_served(served):
    clients = [connect(served) for _ in range(200)]
    wait_for(lambda: served.connections > 0)
    assert served.connections <= MOST_CONNECTIONS
    wait_for(lambda: served.connections == 0)
    assert all(is_cut(client) for client in clients)
    for client in clients:
        client.close()
    assert ask(served)[0].status == 200


def test_garbage_does_no_harm(served):
    for garbage in (b"\x00" * 1000, b"GET / HTTP/9.9\r\n\r\n", b"A" * 200_000, b"\x16\x03\x01\x02\x00"):
        client = connect(served)
        client.sendall(garbage)
        is_cut(client)
        client.close()
    assert ask(served)[0].status == 200


def test_port_in_use_is_named(served):
    with pytest.raises(ConfigError, match=f"`metrics` cannot use port {served.port}"):
        PageServer(app, "127.0.0.1", served.port, setting="metrics", events=EventLog())


def test_run_that_ends_early_frees_the_port():
    server = PageServer(app, "127.0.0.1", 0, setting="metrics", events=EventLog())
    server.close()
    PageServer(app, "127.0.0.1", server.port, setting="metrics", events=EventLog()).close()


def test_url_is_one_that_this_machine_can_open():
    server = PageServer(app, "0.0.0.0", 0, setting="metrics", events=EventLog())
    assert server.url == f"http://127.0.0.1:{server.port}/"
    server.close()


def test_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(MissingDependencyError, match=r"\[dashboard\]"):
        PageServer(app, "127.0.0.1", 0, setting="metrics", events=EventLog())
