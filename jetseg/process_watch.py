"""Ends a process whose main thread hangs, that is asked to end, or that takes too much memory.

A native call that does not come back keeps Python's signal handlers from running, since they run in the main thread.
So a thread of its own waits for the signals, and ends the process if the main thread has not answered within two
seconds. Code that calls into a library says so by `jetseg.main_thread.working`, and never sees the watch. What hangs
with Python's own lock held stops this thread too; against that only a supervisor's timer helps.
"""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from time import perf_counter
from types import FrameType
from typing import Any

import psutil
from typing_extensions import Self

from jetseg.errors import EndedBySignalError, JetsegError, MemoryBoundError, StageStoppedError
from jetseg.main_thread import MAIN, SIGNALS, Call, LimitConfig, answer

_SECONDS_TO_ANSWER = 2.0
_SECONDS_FOR_LAST_WORDS = 3.0
_POLL_SECONDS = 0.1


class ProcessWatch:
    """Watches the main thread, which enters it, from a thread of its own; in other threads it does nothing.

    SIGINT, SIGTERM and SIGHUP raise `KeyboardInterrupt`, so that files are put in order as after Ctrl-C; SIGHUP stays
    ignored where it was, as under nohup.

    Args:
        stage: Gives the name of what the process does, for the message.

    Attributes:
        asked: Why the process was asked to end, once it was.
        failure: The same, where its work was not done for that.
    """

    def __init__(self, stage: Callable[[], str]) -> None:
        self.asked: JetsegError | None = None
        self.failure: JetsegError | None = None
        self._stage = stage
        self._asked_by, self._asked_at = 0, 0.0
        self._ended = False
        self._earlier: dict[int, Any] = {}
        self._thread = threading.Thread(target=self._watch, name="jetseg-process-watch", daemon=True)

    def __enter__(self) -> Self:
        MAIN.calls, MAIN.phase, MAIN.limits, MAIN.answered = (), "", LimitConfig(), frozenset()
        if threading.current_thread() is not threading.main_thread():
            return self
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._earlier_fd = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in SIGNALS:
            if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN:
                self._earlier[number] = signal.signal(number, self._raise)
        _WATCHES.append(self)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if not self._earlier:
            return
        self._ended = True
        os.write(self._writer, b"\0")
        self._thread.join()
        self.forget()
        os.close(self._reader)
        os.close(self._writer)

    def forget(self) -> None:
        """Gives the signals back."""
        _WATCHES.remove(self)
        signal.set_wakeup_fd(self._earlier_fd)
        for number, handler in self._earlier.items():
            signal.signal(number, handler)

    def _raise(self, number: int, _frame: FrameType | None) -> None:
        answer(number)
        self.failure = self.failure or _by_signal(number)
        raise KeyboardInterrupt

    def _watch(self) -> None:
        awake_since = looked_at = perf_counter()
        while not self._ended:
            self._note_signals()
            now = perf_counter()
            if now - looked_at > 1 + _POLL_SECONDS:
                awake_since = now  # the process itself was suspended, and starts anew to count
            looked_at = now
            self._check_answer(now, awake_since)
            self._check_call(now, awake_since)
            self._check_memory()

    @property
    def _phase(self) -> str:
        return MAIN.phase or self._stage()

    def _note_signals(self) -> None:
        """Waits a moment for signals."""
        if select.select([self._reader], [], [], _POLL_SECONDS)[0]:
            for number in os.read(self._reader, 64):
                if number in self._earlier:
                    self._ask(_by_signal(number), number)

    def _ask(self, reason: JetsegError, number: int) -> None:
        if self.asked is None:
            self._asked_by, self._asked_at, self.asked = number, perf_counter(), reason

    def _check_answer(self, now: float, awake_since: float) -> None:
        call = MAIN.latest
        if self.asked is None:
            return
        since = max(self._asked_at, awake_since)
        if self._asked_by in MAIN.answered:
            if call is None:
                return
            since = max(since, call.since)
        if now - since > _SECONDS_TO_ANSWER:
            self._end(self.asked, call)

    def _check_call(self, now: float, awake_since: float) -> None:
        call = MAIN.latest
        if call is not None:
            bound = MAIN.limits.watchdog_seconds if call.seconds is None else call.seconds
            if now - max(call.since, awake_since) > bound:
                text = f"{call.what} has not come back for {now - call.since:.1f} seconds"
                self._end(StageStoppedError(self._phase, text))

    def _check_memory(self) -> None:
        bound_gb = MAIN.limits.memory_gb
        if bound_gb is None or self.asked is not None:
            return
        held_gb = psutil.Process().memory_info().rss / 1e9
        if held_gb > bound_gb:
            self.failure = MemoryBoundError(held_gb, bound_gb)
            self._ask(self.failure, signal.SIGTERM)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    def _end(self, error: JetsegError, call: Call | None = None) -> None:
        """Ends the process from this thread; whatever happens to the last words, it ends."""
        text = f"Error: {error}\n"
        if call is not None:
            text += f"In the {self._phase} stage {call.what} did not come back.\n"
        if MAIN.last_words is not None:
            thread = threading.Thread(target=MAIN.last_words, name="jetseg-last-words", daemon=True)
            thread.start()
            thread.join(_SECONDS_FOR_LAST_WORDS)
        with suppress(OSError):  # not through a console, whose lock the main thread may hold
            os.write(2, text.encode())
        os._exit(error.exit_code)


def _by_signal(number: int) -> EndedBySignalError:
    return EndedBySignalError(signal.Signals(number).name, 128 + number)


_WATCHES: list[ProcessWatch] = []
_FORKING = threading.local()


def _hold_signals() -> None:
    _FORKING.mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def _release_signals() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _FORKING.mask)


def _forget_in_child() -> None:
    """Leaves a forked process, as one that loads data, without the watch's signals: they would reach its parent."""
    for watch in _WATCHES.copy():
        watch.forget()
    _release_signals()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold_signals, after_in_parent=_release_signals, after_in_child=_forget_in_child)
