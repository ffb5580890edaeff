"""Requests with anything in them are answered or cut in time, never with an error of ours, and leave nothing."""

import http.client
import os
import socket
import threading
import time
from contextlib import ExitStack, suppress

import psutil
import pytest
from serving import free_port, running_loop

pytest.importorskip("uvicorn", reason="uvicorn (extra `dashboard`) is not installed")
pytest.importorskip("starlette", reason="Starlette (extra `dashboard`) is not installed")
pytest.importorskip("prometheus_client", reason="prometheus-client (extra `dashboard`) is not installed")

from jetseg.dashboard.connection import MOST_CONNECTIONS

METHODS = [b"GET"] * 12 + [b"HEAD", b"POST", b"get", b"CONNECT", b"OPTIONS", b"PRI", b"G\x00T", b"", b"X" * 3000]
PATHS = [b"/picture", b"/state", b"/past", b"/metrics", b"/", b"/app.js", b"*", b"", b"//", b"/..%2f..%2fetc/passwd"]
PATHS += [b"/picture/", b"http://localhost/state", b"http://[::1/state", b"/%ff%00", b"/\xff", b"/" + b"a" * 70_000]
VALUES = [
    b"--1",
    b"-1",
    b"1",
    b"",
    b"1e3",
    b"%D9%A1",
    b"+1",
    b"-",
    b"0x1",
    b"9" * 5000,
    b"%00",
    b"%ff",
    b"1&other_than=2",
]
VALUES += [b"&" * 3000, b"=;=", b"\xe2\x82\xac"]
HOSTS = [b"localhost"] * 12 + [b"127.0.0.1:1", b"[::1", b"[::1]:99999", b"", b"evil.example", b"localhost\r\nHost: x"]
HOSTS += [b"[", b"]", b"\xff", b"1" * 5000, b"127.1", b"::ffff:127.0.0.1"]
HEADERS = [
    b"Range: bytes=0-1",
    b"Range: bytes=-,-",
    b"Content-Length: 5",
    b"Content-Length: -1",
    b"Content-Length: 1e9",
]
HEADERS += [b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip", b"Expect: 100-continue", b"Upgrade: websocket"]
HEADERS += [
    b"Connection: upgrade",
    b"Connection: close",
    b"Cookie: " + b"a" * 20_000,
    b"X",
    b": x",
    b" folded",
    b"A: \x00",
]
HEADERS += [b"If-None-Match: *", b"If-Modified-Since: Thu, 99 Foo", b"Accept: \xff", b"Content-Length: 5, 5"]


def request(draw):
    """Writes a request of which some parts are wrong."""
    query = b"?other_than=" + draw.choice(VALUES) if draw.random() < 0.5 else b""
    version = draw.choice([b"HTTP/1.1"] * 8 + [b"HTTP/1.0", b"HTTP/9.9", b"HTTP/2", b""])
    lines = [b" ".join((draw.choice(METHODS), draw.choice(PATHS) + query, version))]
    lines += [b"Host: " + draw.choice(HOSTS), *draw.choices(HEADERS, k=draw.choice((0, 0, 1, 2, 200)))]
    text = bytearray(b"\r\n".join(lines) + b"\r\n\r\n")
    for _ in range(draw.choice((0, 0, 0, 1, 5))):
        text[draw.randrange(len(text))] = draw.randrange(256)
    body = draw.choice([b"", b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"zz\r\n", b"ffffffffffffffff\r\nx"])
    return bytes(text) + body


def statuses(client):
    """Reads until the server ends the connection, or is silent for a moment; returns the status lines."""
    received = bytearray()
    with suppress(OSError):
        while chunk := client.recv(1 << 16):
            received += chunk
            if len(received) > 1 << 22:
                break
    return [bytes(line[9:12]) for line in received.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]


def converse(draw, port):
    """Sends some requests over one connection, at once or in pieces, and may leave in the middle."""
    with socket.create_connection(("127.0.0.1", port), timeout=0.02) as client, suppress(OSError):
        text = b"".join(request(draw) for _ in range(draw.choice((1, 1, 1, 2, 30))))
        step = draw.choice((len(text), len(text), 1000))
        for start in range(0, len(text), step):
            client.sendall(text[start : start + step])
        if draw.random() < 0.2:
            client.shutdown(socket.SHUT_WR)
        return [] if draw.random() < 0.2 else statuses(client)
    return []


def seconds_of_metrics(port):
    started = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/metrics")
    assert b"jetseg_frames_total" in connection.getresponse().read()
    connection.close()
    return time.perf_counter() - started


@pytest.mark.fuzz
def test_requests_with_anything_in_them(trials, capfd, caplog):
    pages, process = {"dashboard": free_port(), "metrics": free_port()}, psutil.Process()
    with running_loop(**pages) as running, ExitStack() as stack:
        seconds_of_metrics(pages["metrics"])
        threads, descriptors, seen, slowest = threading.active_count(), process.num_fds(), set(), 0.0
        held = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            for port in pages.values()
            for _ in range(MOST_CONNECTIONS)
        ]
        for draw in trials(150):
            found = converse(draw, draw.choice(list(pages.values())))
            assert not [status for status in found if status.startswith(b"5")], found
            seen.update(found)
            with suppress(OSError):
                draw.choice(held).sendall(b"x")
            slowest = max(slowest, seconds_of_metrics(pages["metrics"]))
        assert slowest < 1
        assert {b"200", b"400", b"404", b"405", b"421"} <= seen
        assert threading.active_count() <= threads + (os.cpu_count() or 1) + 4  # asyncio's, which draw pictures
        assert process.num_fds() <= descriptors + 4 * MOST_CONNECTIONS + 16
        assert not running.events.recent()
    assert capfd.readouterr().err == ""
    assert not [record for record in caplog.records if record.name.startswith(("asyncio", "uvicorn"))]
