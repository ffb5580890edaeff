"""The one progress bar: on stderr, so that results on stdout stay clean."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

T = TypeVar("T")

console = Console(stderr=True)


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yields `items` while a bar with count and time left advances."""
    with progress_bar() as bar:
        yield from bar.track(items, total=total, description=description)


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Opens a bar with count, time left and a free `note` field (`bar.update(task, note=...)`)."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with _NotedProgress(*columns, console=console, transient=False) as bar:
        yield bar


class _NotedProgress(Progress):
    """A rich Progress whose tasks always have a `note` field."""

    def add_task(self, description: str, *args: Any, **fields: Any) -> TaskID:  # noqa: ANN401 - rich's own
        """Adds a task; see rich.progress.Progress.add_task."""
        fields.setdefault("note", "")
        return super().add_task(description, *args, **fields)
