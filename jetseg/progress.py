"""Progress of long work: told to whoever listens, so that a library function never draws.

The command line listens with bars; a notebook or a service listens with a callback of its own:

    with report_progress(lambda task: print(task.description, task.done, task.total)):
        ...
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")


@dataclass
class Task:
    """One piece of long work, as it is reported.

    Attributes:
        description: What is done.
        total: Steps of it; None if that is not known.
        done: Steps that are done.
        note: Where it stands, in a few words.
        finished: Whether it is over, done or not.
    """

    description: str
    total: int | None
    done: int = 0
    note: str = ""
    finished: bool = False
    _listener: ProgressCallback | None = field(default=None, repr=False)

    def update(self, *, done: int | None = None, advance: int = 0, note: str | None = None) -> None:
        """Reports that the work went on: to `done` steps in all, or by `advance` more."""
        self.done = self.done + advance if done is None else done
        self.note = self.note if note is None else note
        self._tell()

    def finish(self) -> None:
        """Reports that the work is over."""
        self.finished = True
        self._tell()

    def _tell(self) -> None:
        if self._listener is not None:
            self._listener(self)


ProgressCallback = Callable[[Task], None]
"""Is called with a task when it begins, goes on and ends; its exceptions end the work."""

_LISTENER: ContextVar[ProgressCallback | None] = ContextVar("jetseg progress", default=None)


@contextmanager
def report_progress(listener: ProgressCallback | None) -> Iterator[None]:
    """Lets a callback follow all work inside the block; None leaves things as they are."""
    token = _LISTENER.set(listener or _LISTENER.get())
    try:
        yield
    finally:
        _LISTENER.reset(token)


@contextmanager
def task(description: str, total: int | None = None) -> Iterator[Task]:
    """Begins a task, and ends it with the block."""
    begun = start_task(description, total)
    try:
        yield begun
    finally:
        begun.finish()


def start_task(description: str, total: int | None = None, listener: ProgressCallback | None = None) -> Task:
    """Begins a task that whoever begins it must end by `finish`; any thread may go on with it.

    Args:
        description: What is done.
        total: Steps of it; None if that is not known.
        listener: Who is told; by default who follows the work of this thread.
    """
    begun = Task(description, total, _listener=listener or current_listener())
    begun.update()
    return begun


def current_listener() -> ProgressCallback | None:
    """Returns who follows the work of this thread, for work that goes on in another one."""
    return _LISTENER.get()


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yields `items` and reports each one that is done.

    >>> seen = []
    >>> with report_progress(lambda task: seen.append((task.done, task.finished))):
    ...     _ = list(track("ab", "Reading"))
    >>> seen
    [(0, False), (1, False), (2, False), (2, True)]
    """
    count = len(items) if total is None and isinstance(items, Sized) else total
    with task(description, count) as running:
        for item in items:
            yield item
            running.update(advance=1)
