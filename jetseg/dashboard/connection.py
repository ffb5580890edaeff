"""One connection of a page's server: its deadlines, and who goes when there are too many; needs uvicorn."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_CONNECTIONS = 32
_CHECK_SECONDS = 1.0


@dataclass(frozen=True)
class Bounds:
    """How long a client may take.

    Attributes:
        request_seconds: From the connection, or from the end of an answer, until the next request is there. Pages ask
            several times a second.
        answer_seconds: From the same until its answer is taken.
    """

    request_seconds: float = 5.0
    answer_seconds: float = 15.0


class BoundedProtocol(H11Protocol):
    """HTTP as uvicorn speaks it, with deadlines, and a bound on connections.

    Args:
        bounds: The deadlines.
        accepted: Called for every new connection.
        uvicorns: What uvicorn gives to its protocols.
    """

    def __init__(self, bounds: Bounds, accepted: Callable[[], None], **uvicorns: Any) -> None:  # noqa: ANN401
        super().__init__(**uvicorns)
        self.since = self.loop.time()
        self.was_answered = False
        self._bounds, self._accepted = bounds, accepted
        self._check: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins the deadlines; makes room for the newcomer."""
        self._accepted()
        super().connection_made(transport)
        self._check = self.loop.call_later(_CHECK_SECONDS, self._cut_if_late)
        others: set[Any] = self.connections - {self}
        if len(others) >= MOST_CONNECTIONS:
            first_to_go(others).cut()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends the deadlines."""
        if self._check is not None:
            self._check.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Begins the next deadlines."""
        self.since, self.was_answered = self.loop.time(), True
        super().on_response_complete()

    def handle_events(self) -> None:
        """Reads what came; nonsense behind a request that was answered ends the connection."""
        try:
            super().handle_events()
        except h11.LocalProtocolError:
            self.cut()

    def send_400_response(self, msg: str) -> None:
        """Answers nonsense, unless it stands behind a request whose answer is under way."""
        if self._answers:
            self.cut()
        else:
            super().send_400_response(msg)

    def cut(self) -> None:
        """Ends the connection at once; to close it would wait for what the client does not take."""
        self.connections.discard(self)
        if self.cycle is not None:
            self.cycle.disconnected = True
        self.transport.abort()

    @property
    def _answers(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _cut_if_late(self) -> None:
        waits_for_client = not self._answers and not self.transport.get_write_buffer_size()
        bound = self._bounds.request_seconds if waits_for_client else self._bounds.answer_seconds
        if self.loop.time() - self.since >= bound:
            self.cut()
        else:
            self._check = self.loop.call_later(_CHECK_SECONDS, self._cut_if_late)


def first_to_go(connections: Collection[Any]) -> Any:  # noqa: ANN401 - a protocol of uvicorn's
    """Returns a connection of the client that has most: one that was never answered, else that which waits longest."""
    counts = Counter(_client(connection) for connection in connections)
    return min(connections, key=lambda one: (-counts[_client(one)], one.was_answered, one.since))


def _client(connection: Any) -> str | None:  # noqa: ANN401
    return connection.client[0] if connection.client else None
