"""What every request and every answer must pass."""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING

from jetseg.monitor.events import EventLog

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
}


class Guard:
    """Lets only reading requests through whose Host is this machine, and adds headers that keep others out.

    The Host check defeats DNS rebinding: a page elsewhere can make its own name point to this machine, but
    the browser still sends that name. Addresses in numbers are no names and pass where the server listens
    beyond loopback.

    Args:
        app: The application behind it.
        host: The address that the server is bound to.
        events: Gets "page-failed", once, when an answer fails.
    """

    def __init__(self, app: ASGIApp, host: str, events: EventLog) -> None:
        self._app = app
        self._events = events
        self._failed = False
        self._loopback = is_loopback(host)
        own = socket.gethostname().lower()
        self._names = {"localhost"} if self._loopback else {"localhost", host.lower(), own, f"{own}.local"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        headers = dict(scope["headers"])
        if not self.allows(headers.get(b"host", b"").decode("latin-1")):
            await _refuse(send, 421, "This address is not one of the machine's own.")
        elif scope["method"] not in ("GET", "HEAD"):
            await _refuse(send, 405, "Only GET and HEAD are answered.")
        else:
            try:
                await self._app(scope, receive, _with_headers(send))
            except Exception as error:
                self._report(scope["path"], error)
                raise

    def allows(self, host_header: str) -> bool:
        """Tells whether a Host header names this machine."""
        name = host_header.strip().lower()
        name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return name in self._names
        return address.is_loopback or not self._loopback

    def _report(self, path: str, error: Exception) -> None:
        if not self._failed:
            self._failed = True
            self._events.add("page-failed", "warning", f"{path} could not be answered: {error}")


def is_loopback(host: str) -> bool:
    """Tells whether an address reaches only this machine.

    >>> [is_loopback(host) for host in ("127.0.0.1", "localhost", "::1", "0.0.0.0")]
    [True, True, True, False]
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _with_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            added = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
            message = {**message, "headers": [*message.get("headers", []), *added]}
        await send(message)

    return send_with_headers


async def _refuse(send: Send, status: int, text: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})
