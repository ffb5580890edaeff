"""Serves a small application from a thread of this process, to few clients, whatever they do."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from functools import partial
from threading import Thread
from types import ModuleType
from typing import TYPE_CHECKING, Any

from jetseg.errors import ConfigError, import_optional
from jetseg.monitor.events import EventLog

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from jetseg.dashboard.connection import Bounds

Failed = Callable[[asyncio.AbstractEventLoop, dict[str, Any]], None]
_BACKLOG = 16
"""Connections that asyncio accepts before it looks at those it has."""
_WAITING = 256
"""Connections that wait in the system: beyond them it drops newcomers, which then try again after a second."""
_LACKING = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_KEEP_ALIVE_SECONDS = 5
_CLOSE_SECONDS = 5.0


class PageServer:
    """Runs an application with uvicorn between `with` and its end.

    The port is bound at once, so that a mistake shows before the run starts. A connection is cut whose request is not
    there after 5 seconds, or whose answer is not taken after 15. At most 32 are open at a time: a newcomer always gets
    in, for one of the client that has most of them, so nobody can keep others out.

    Args:
        app: The application.
        host: Address to bind.
        port: Port to bind; 0 takes a free one.
        setting: Name of the setting that asked for it, for messages, as in "dashboard".
        events: Gets "server-stopped" if the server fails, "connections-stopped" while the system has no descriptors
            for more connections, and "connections-resumed" when it has.
        bounds: Other deadlines.

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
        bounds: Bounds | None = None,
    ) -> None:
        uvicorn = import_optional("uvicorn", "uvicorn", "dashboard", "serves the dashboard and the metrics")
        from jetseg.dashboard.connection import BoundedProtocol, Bounds

        self._events = events
        self._setting = setting
        self._socket = _bind(host, port, setting)
        self.host, self.port = host, int(self._socket.getsockname()[1])
        config = uvicorn.Config(
            app,
            http=partial(BoundedProtocol, bounds or Bounds(), self._accepted),
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
        self._lacks_descriptors = False
        self._server = _server(uvicorn, config, self._failed)
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

    def _failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Says once what asyncio says each time that it cannot accept; it tries again each second by itself."""
        error = context.get("exception")
        if not (isinstance(error, OSError) and error.errno in _LACKING):
            loop.default_exception_handler(context)
        elif not self._lacks_descriptors:
            self._lacks_descriptors = True
            text = f"The {self._setting} takes no new connections: {error.strerror}. The run goes on."
            self._events.add("connections-stopped", "warning", text)

    def _accepted(self) -> None:
        if self._lacks_descriptors:
            self._lacks_descriptors = False
            self._events.add("connections-resumed", "info", f"The {self._setting} takes new connections again.")


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


def _server(uvicorn: ModuleType, config: Any, failed: Failed) -> Any:  # noqa: ANN401 - uvicorn is optional
    class CuttingServer(uvicorn.Server):  # type: ignore[misc, name-defined]
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            asyncio.get_running_loop().set_exception_handler(failed)
            await super().startup(sockets)
            for bound in sockets or ():
                bound.listen(_WAITING)  # asyncio has set it to the other number

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            for connection in list(self.server_state.connections):
                connection.transport.abort()
            await super().shutdown(sockets)

    return CuttingServer(config)
