"""A supervisor for tests, which acts on sd_notify(3) as systemd does: it starts, waits for READY, kills and restarts."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from time import monotonic

from typing_extensions import Self


class Supervised:
    """Keeps a command running while the block runs: started again when it ends, killed when it falls silent.

    Args:
        command: What to run.
        folder: Where it runs; also gets the socket, and what it says as `said.txt`.
        watchdog_seconds: After READY, the longest time without WATCHDOG=1 until it is killed.
        abstract: Whether the socket lies in Linux's abstract namespace.

    Attributes:
        heard: All messages as (monotonic seconds, variable, value), "STARTED", "KILLED" and "ENDED" among them, with
            process id, reason and exit code.
        process: What runs now.
    """

    def __init__(
        self, command: Sequence[object], folder: Path, *, watchdog_seconds: float = 5.0, abstract: bool = False
    ) -> None:
        self.heard: list[tuple[float, str, str]] = []
        self.process: subprocess.Popen[bytes]
        self._command = [str(word) for word in command]
        self._folder = folder
        self._watchdog_seconds = watchdog_seconds
        self._address = f"@jetseg-{os.getpid()}-{id(self)}" if abstract else str(folder / "notify")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._changed = threading.Condition()
        self._alive_at: float | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._supervise, name="supervisor", daemon=True)

    def __enter__(self) -> Self:
        self._socket.bind("\0" + self._address[1:] if self._address.startswith("@") else self._address)
        self._socket.settimeout(0.05)
        self._start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._socket.close()

    def wait_for(self, variable: str, value: str | None = None, *, after: float = 0.0, seconds: float = 60.0) -> float:
        """Waits until something is heard after a moment; returns when that was."""
        found: list[float] = []

        def is_heard() -> bool:
            found[:] = [
                at for at, *rest in self.heard if at > after and rest[0] == variable and value in (None, rest[1])
            ]
            return bool(found)

        with self._changed:
            assert self._changed.wait_for(is_heard, seconds), f"{variable} was not heard: {self.heard[-20:]}"
        return found[0]

    def count(self, variable: str) -> int:
        """Returns how often a variable was heard."""
        return sum(name == variable for _, name, _ in self.heard.copy())

    def stop(self, number: signal.Signals = signal.SIGTERM, seconds: float = 15.0) -> int:
        """Ends the command, as `systemctl stop`; returns its exit code."""
        self._ended.set()
        self._thread.join()
        self.process.send_signal(number)
        code = self.process.wait(seconds)
        while self._listen():
            pass
        return code

    def _start(self) -> None:
        watchdog = {"NOTIFY_SOCKET": self._address, "WATCHDOG_USEC": str(int(self._watchdog_seconds * 1e6))}
        with (self._folder / "said.txt").open("ab") as said:
            self.process = subprocess.Popen(
                self._command, cwd=self._folder, stdout=said, stderr=said, env={**os.environ, **watchdog}
            )
        self._alive_at = None
        self._note("STARTED", str(self.process.pid))

    def _supervise(self) -> None:
        while not self._ended.is_set():
            self._listen()
            if self._alive_at is not None and monotonic() - self._alive_at > self._watchdog_seconds:
                self._note("KILLED", "watchdog")
                self.process.kill()
                self.process.wait()
            if self.process.poll() is not None:
                self._note("ENDED", str(self.process.returncode))
                self._start()

    def _listen(self) -> bool:
        """Takes one message, if one comes."""
        try:
            message = self._socket.recv(4096).decode()
        except TimeoutError:
            return False
        for line in message.splitlines():
            variable, _, value = line.partition("=")
            if variable in ("READY", "WATCHDOG"):
                self._alive_at = monotonic()
            self._note(variable, value)
        return True

    def _note(self, variable: str, value: str) -> None:
        with self._changed:
            self.heard.append((monotonic(), variable, value))
            self._changed.notify_all()
