"""Notices Ctrl-C and its like while a foreign library works, without an exception in one of its callbacks."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from jetseg.main_thread import SIGNALS


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Gives a function that tells whether a signal asked to end; the signal is delivered at the end if one did.

    Python runs signal handlers in the main thread, between two of its own instructions, and there are none while a
    library works. The wake-up socket is written to by the signal itself, so any thread can ask it at any time. Whoever
    listened there before is told too.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    listener, writer = socket.socketpair()
    listener.setblocking(False)
    writer.setblocking(False)
    pressed: list[int] = []
    ignored = {number for number in SIGNALS[1:] if signal.getsignal(number) == signal.SIG_IGN}
    old_handlers = {
        number: signal.signal(number, lambda number, _frame: pressed.append(number))
        for number in SIGNALS
        if number not in ignored
    }
    old_fd = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)

    def interrupted() -> bool:
        try:
            numbers = listener.recv(64)
        except BlockingIOError:
            numbers = b""
        if numbers and old_fd >= 0:
            os.write(old_fd, numbers)
        pressed.extend(number for number in numbers if number in old_handlers)
        return bool(pressed)

    try:
        yield interrupted
        interrupted()
    finally:
        signal.set_wakeup_fd(old_fd)
        for number, handler in old_handlers.items():
            signal.signal(number, handler)
        listener.close()
        writer.close()
        if pressed:  # whatever the library made of being asked to end
            signal.raise_signal(pressed[0])
