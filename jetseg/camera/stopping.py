"""Ends a run on Ctrl-C, SIGTERM or SIGHUP as if its source had ended."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from jetseg.main_thread import SIGNALS, answer


class StopFlag:
    """Asks a run to end. Plain attributes, because a signal handler may not take a lock.

    Attributes:
        requested: Whether it shall end.
        by_signal: Whether someone waits for its end; a stage that hangs is then given up soon.
    """

    def __init__(self) -> None:
        self.requested = False
        self.by_signal = False


@contextmanager
def stop_on_signals(stop: StopFlag) -> Iterator[None]:
    """Sets `stop` at the first SIGINT, SIGTERM or SIGHUP; a second SIGINT raises `KeyboardInterrupt`.

    SIGHUP stays ignored where it was, as under nohup. Outside the main thread, where Python delivers no signals,
    nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, _frame: FrameType | None) -> None:
        answer(number)
        if stop.by_signal and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.requested = stop.by_signal = True

    ignored = {number for number in SIGNALS[1:] if signal.getsignal(number) == signal.SIG_IGN}
    earlier = {number: signal.signal(number, handle) for number in SIGNALS if number not in ignored}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
