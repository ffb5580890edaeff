"""Clients of a dashboard, good and bad, and of Foxglove, in a process of their own: until it is ended.

    python bench/dashboard_clients.py PORT viewer|never-reads|many-connections|foxglove:[TOPIC] ...

viewer asks as the page does. never-reads asks for pictures and takes no answer, again whenever it is cut.
many-connections opens two hundred connections each second, of which half ask for something. foxglove subscribes to the
topics whose names begin as given.
"""

from __future__ import annotations

import http.client
import json
import socket
import sys
import time
from contextlib import suppress
from functools import partial
from threading import Thread

from websockets.exceptions import WebSocketException
from websockets.sync.client import connect
from websockets.typing import Subprotocol

MANY = 200


def main() -> None:
    port, kinds = int(sys.argv[1]), sys.argv[2:]
    behaviors = {
        "viewer": [_watch_pictures, _watch_state],
        "never-reads": [_never_read],
        "many-connections": [_open_many],
    }
    for kind in kinds:
        name, _, topic = kind.partition(":")
        for behave in [partial(_watch_foxglove, topic)] if name == "foxglove" else behaviors[kind]:
            Thread(target=_forever, args=(behave, port), daemon=True).start()
    print("ready", flush=True)
    sys.stdin.read()


def _forever(behave: object, port: int) -> None:
    while True:
        try:
            behave(port)  # type: ignore[operator]
        except (OSError, http.client.HTTPException, WebSocketException):
            time.sleep(0.05)


def _watch_pictures(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    sequence = -1
    while True:
        connection.request("GET", f"/picture?other_than={sequence}")
        answer = connection.getresponse()
        answer.read()
        sequence = int(answer.headers.get("X-Sequence", sequence))


def _watch_state(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    while True:
        connection.request("GET", "/state")
        json.loads(connection.getresponse().read())
        time.sleep(0.5)


def _watch_foxglove(topic: str, port: int) -> None:
    with connect(f"ws://127.0.0.1:{port}", subprotocols=[Subprotocol("foxglove.sdk.v1")], max_size=None) as socket:
        for message in socket:
            channels = json.loads(message).get("channels", []) if isinstance(message, str) else []
            wanted = [channel["id"] for channel in channels if channel["topic"].startswith(topic)]
            if wanted:
                subscriptions = [{"id": number, "channelId": number} for number in wanted]
                socket.send(json.dumps({"op": "subscribe", "subscriptions": subscriptions}))


def _never_read(port: int) -> None:
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        for _ in range(1000):
            client.sendall(b"GET /picture?other_than=-1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        while client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"):
            time.sleep(0.5)


def _open_many(port: int) -> None:
    clients = []
    try:
        for number in range(MANY):
            clients.append(socket.create_connection(("127.0.0.1", port), timeout=5))
            if number % 2:
                with suppress(OSError):  # refused at once: the connection counts all the same
                    clients[-1].sendall(b"GET /state HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(1.0)
    finally:
        for client in clients:
            client.close()


if __name__ == "__main__":
    main()
