"""Serves a small application from a thread of this process, to few clients, whatever they do."""

from __future__ import annotations

import asyncio
import importlib
import socket
from threading import Thread
from types import ModuleType
from typing import TYPE_CHECKING, Any

from jetseg.errors import ConfigError, import_optional
from jetseg.monitor.events import EventLog

if TYPE_CHECKING:
    from starlette.types import ASGIApp

MOST_CONNECTIONS = 32
SILENT_SECONDS = 15.0
"""A connection on which nothing moves for so long is cut. Pages ask several times a second."""
_BACKLOG = 16
"""Connections that wait in the system, and that asyncio accepts before it looks at those it has."""
_CHECK_SECONDS = 1.0
_KEEP_ALIVE_SECONDS = 5
_CLOSE_SECONDS = 5.0


class PageServer:
    """Runs an application with uvicorn between `with` and its end.

    The port is bound at once, so that a mistake shows before the run starts. At most 32 connections are open
    at a time, others are refused; one that neither sends nor takes anything for 15 seconds is cut.

    Args:
        app: The application.
        host: Address to bind.
        port: Port to bind; 0 takes a free one.
        setting: Name of the setting that asked for it, for messages, as in "dashboard".
        events: Gets "server-stopped" if the server fails.
        silent_seconds: See above.

    Raises:
        MissingDependencyError: uvicorn is not installed.
        ConfigError: The address cannot be bound.
    """

    def __init__(
        self,
        app: ASGIApp,
        host: str,
        port: int,
        *,
        setting: str,
        events: EventLog,
        silent_seconds: float = SILENT_SECONDS,
    ) -> None:
        uvicorn = import_optional("uvicorn", "uvicorn", "dashboard", "serves the dashboard and the metrics")
        self._events = events
        self._setting = setting
        self._socket = _bind(host, port, setting)
        self.host, self.port = host, int(self._socket.getsockname()[1])
        config = uvicorn.Config(
            app,
            http=_protocol(silent_seconds),
            ws="none",
            lifespan="off",
            loop="asyncio",
            access_log=False,
            log_config=None,
            log_level="critical",
            server_header=False,
            backlog=_BACKLOG,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=1,
        )
        self._server = _server(uvicorn, config)
        self._thread = Thread(target=self._work, name=f"jetseg-{setting}", daemon=True)

    @property
    def url(self) -> str:
        """Where a browser on this machine finds it."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"http://[{host}]:{self.port}/" if ":" in host else f"http://{host}:{self.port}/"

    @property
    def connections(self) -> int:
        """Connections that are open now."""
        return len(self._server.server_state.connections)

    def __enter__(self) -> PageServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(_CLOSE_SECONDS)
        self.close()

    def close(self) -> None:
        """Frees the port, also where the server never ran."""
        self._socket.close()

    def _work(self) -> None:
        try:
            self._server.run(sockets=[self._socket])
        except (Exception, SystemExit) as error:
            self._events.add("server-stopped", "alarm", f"The server of the {self._setting} stopped: {error}")


def _bind(host: str, port: int, setting: str) -> socket.socket:
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        bound = socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except OSError as error:
        reason = str(error.strerror or error).partition(" (while")[0]  # the address is named already
        raise ConfigError(
            f"`{setting}` cannot use port {port} of {host}: {reason}.",
            "Give another port, or end the process that uses it.",
        ) from error
    bound.setblocking(False)
    return bound


def _protocol(silent_seconds: float) -> type[asyncio.Protocol]:
    """Makes uvicorn's HTTP protocol with a bound on connections and on their silence."""
    base: Any = importlib.import_module("uvicorn.protocols.http.h11_impl").H11Protocol

    class BoundedProtocol(base):  # type: ignore[misc]
        refused = False

        def connection_made(self, transport: asyncio.Transport) -> None:
            if len(self.connections) >= MOST_CONNECTIONS:
                self.refused = True
                transport.abort()
                return
            super().connection_made(transport)
            self.unsent, self.moved_at = 0, self.loop.time()
            self.check = self.loop.call_later(_CHECK_SECONDS, self.cut_if_silent)

        def connection_lost(self, error: Exception | None) -> None:
            if not self.refused:
                self.check.cancel()
                super().connection_lost(error)

        def data_received(self, data: bytes) -> None:
            self.moved_at = self.loop.time()
            super().data_received(data)

        def cut_if_silent(self) -> None:
            now, unsent = self.loop.time(), self.transport.get_write_buffer_size()
            if unsent != self.unsent:
                self.unsent, self.moved_at = unsent, now
            if now - self.moved_at >= silent_seconds:
                # not close(), which would wait for what the client does not take
                self.transport.abort()
            else:
                self.check = self.loop.call_later(_CHECK_SECONDS, self.cut_if_silent)

    return BoundedProtocol


def _server(uvicorn: ModuleType, config: Any) -> Any:  # noqa: ANN401 - uvicorn is optional
    class CuttingServer(uvicorn.Server):  # type: ignore[misc, name-defined]
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            for connection in list(self.server_state.connections):
                connection.transport.abort()
            await super().shutdown(sockets)

    return CuttingServer(config)
