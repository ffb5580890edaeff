"""Notices Ctrl-C while a foreign library works, without an exception in one of its callbacks."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Gives a function that tells whether Ctrl-C was pressed; raises KeyboardInterrupt at the end if it was.

    Python runs signal handlers in the main thread, between two of its own instructions, and there are none while a
    library works. The wake-up socket is written to by the signal itself, so any thread can ask it at any time.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    listener, writer = socket.socketpair()
    listener.setblocking(False)
    writer.setblocking(False)
    pressed = threading.Event()
    old_handler = signal.signal(signal.SIGINT, lambda _number, _frame: pressed.set())
    old_socket = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)

    def interrupted() -> bool:
        try:
            if signal.SIGINT in listener.recv(64):
                pressed.set()
        except BlockingIOError:
            pass
        return pressed.is_set()

    try:
        yield interrupted
        interrupted()
    finally:
        signal.set_wakeup_fd(old_socket)
        signal.signal(signal.SIGINT, old_handler)
        listener.close()
        writer.close()
    if pressed.is_set():
        raise KeyboardInterrupt
