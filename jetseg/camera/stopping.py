"""Ends a run on Ctrl-C or SIGTERM as if its source had ended."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopFlag:
    """Asks a run to end. A plain attribute, because a signal handler may not take a lock."""

    def __init__(self) -> None:
        self.requested = False


@contextmanager
def stop_on_signals(stop: StopFlag) -> Iterator[None]:
    """Sets `stop` at the first SIGINT or SIGTERM; a second SIGINT raises `KeyboardInterrupt`.

    Outside the main thread, where Python delivers no signals, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, _frame: FrameType | None) -> None:
        if stop.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.requested = True

    earlier = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
