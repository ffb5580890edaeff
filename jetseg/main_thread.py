"""What the main thread does, said by code that calls into libraries, for a watch that this code never sees.

See `jetseg.process_watch`.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from time import perf_counter
from typing import Annotated, NamedTuple

from pydantic import Field

from jetseg.config import Cli, Settings

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
OPENING_SECONDS = 60.0
"""What opening a network may take at least, whatever a run may take; large ones are slow to load."""


class LimitConfig(Settings):
    """What a process may take."""

    watchdog_seconds: Annotated[float, Cli(flag="--watchdog", metavar="SECONDS")] = Field(
        120.0, ge=0.5, description="End with exit code 4 if one run of a network does not come back for this long."
    )
    memory_gb: Annotated[float | None, Cli(metavar="GB")] = Field(
        None, gt=0, description="End with exit code 3 if this process holds more memory than this, in 10^9 bytes."
    )


class Call(NamedTuple):
    """A call that the main thread is in: what it does, how long that may take, and since when; see `working`."""

    what: str
    seconds: float | None
    since: float


@dataclass
class MainThread:
    """What is known of the main thread; it writes, the watch reads."""

    calls: tuple[Call, ...] = ()
    phase: str = ""
    answered: frozenset[int] = frozenset()
    last_words: Callable[[], None] | None = None
    limits: LimitConfig = field(default_factory=LimitConfig)

    @property
    def latest(self) -> Call | None:
        """The innermost call that it is in."""
        calls = self.calls
        return calls[-1] if calls else None


MAIN = MainThread()
_ELSEWHERE = nullcontext()


def limit(limits: LimitConfig) -> None:
    """Sets what the process may take, until its watch ends."""
    MAIN.limits = limits


def current_limits() -> LimitConfig:
    """Returns what the process may take, for a process that it starts."""
    return MAIN.limits


def working(what: str, seconds: float | None = None) -> AbstractContextManager[None]:
    """Says that the main thread is in a call that may hang. Of other threads whoever waits for them takes care.

    It is said for every run of a network, so it costs little.

    Args:
        what: What it does, as in "opening net.onnx".
        seconds: How long that may take; by default as long as one run of a network may.
    """
    if threading.current_thread() is not threading.main_thread():
        return _ELSEWHERE
    return _Working(Call(what, seconds, perf_counter()))


class _Working:
    """The main thread's stay in a call; the time of the call around it begins anew when it is left."""

    __slots__ = ("_call", "_outer")

    def __init__(self, call: Call) -> None:
        self._call = call

    def __enter__(self) -> None:
        self._outer = MAIN.calls
        MAIN.calls = (*self._outer, self._call)

    def __exit__(self, *_: object) -> None:
        outer = self._outer
        if outer:
            around = outer[-1]
            outer = (*outer[:-1], Call(around.what, around.seconds, perf_counter()))
        MAIN.calls = outer


def opening(what: str) -> AbstractContextManager[None]:
    """Says that the main thread opens something; see `working`."""
    return working(f"opening {what}", max(OPENING_SECONDS, MAIN.limits.watchdog_seconds))


@contextmanager
def phase(name: str) -> Iterator[None]:
    """Names what the main thread does inside, for the message about a call that hangs; a task's name is not needed."""
    outer, MAIN.phase = MAIN.phase, name
    try:
        yield
    finally:
        MAIN.phase = outer


@contextmanager
def last_words(say: Callable[[], None]) -> Iterator[None]:
    """Has `say` called, in another thread, if the process is ended from outside; it gets three seconds."""
    outer, MAIN.last_words = MAIN.last_words, say
    try:
        yield
    finally:
        MAIN.last_words = outer


def answer(number: int) -> None:
    """Says that the main thread got a signal; every handler of one must say so."""
    MAIN.answered |= {number}
