"""Tells a supervisor how a run goes, by systemd's protocol: a datagram of VARIABLE=VALUE lines to its socket.

Documented in sd_notify(3).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager, suppress

from jetseg.monitor.observer import Observation, Observer

_MORE_SECONDS = 30
"""What a start may take on, while the loop waits for its camera."""


class Supervisor:
    """The supervisor of a run: hears when the first frame is through, and then while the loop advances.

    READY=1 comes with the first class map; until then a loop that waits for its camera asks for more time. WATCHDOG=1
    comes only while class maps do, or the loop waits for a camera that is away.

    Args:
        address: Path of its socket, or @NAME in Linux's abstract namespace.
        watched: Whether it restarts a run that it hears no WATCHDOG=1 from.
    """

    def __init__(self, address: str, *, watched: bool = False) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._watched = watched
        self._told_ready = False
        self._told_status = ""

    @classmethod
    def take(cls, environment: MutableMapping[str, str]) -> Supervisor | None:
        """Returns the supervisor that the environment names, and takes it out there: processes started are not its."""
        address = environment.pop("NOTIFY_SOCKET", "")
        period, process = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
        watched = period.isdecimal() and int(period) > 0 and process in ("", str(os.getpid()))
        return cls(address, watched=watched) if address[:1] in ("/", "@") else None

    @contextmanager
    def follow(self, observer: Observer) -> Iterator[None]:
        """Tells it of a run while the block runs."""
        observer.listen(self._hear)
        try:
            yield
        finally:
            self._tell("STOPPING=1")

    def _hear(self, seen: Observation) -> None:
        lines, ready = [], seen.summary.frames > 0
        if ready and not self._told_ready:
            lines.append("READY=1")
        if seen.advanced and not ready:
            lines.append(f"EXTEND_TIMEOUT_USEC={_MORE_SECONDS * 1_000_000}")
        if seen.advanced and ready and self._watched:
            lines.append("WATCHDOG=1")
        status = f"{seen.frames_per_second:.0f} frames per second" if ready else "waiting for the first frame"
        if status != self._told_status:
            lines.append(f"STATUS={status}")
        if lines and self._tell(*lines):
            self._told_ready, self._told_status = self._told_ready or ready, status

    def _tell(self, *lines: str) -> bool:
        """Returns whether it was taken: a supervisor whose queue is full hears it at the next look."""
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
            sender.sendto("\n".join(lines).encode(), self._address)
            return True
        return False
