"""What the command line shows of long work: bars and log lines on stderr, so that results on stdout stay clean."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from jetseg.cli.output import Terminal, print_lines
from jetseg.progress import Task, report_progress

console = Terminal(stderr=True)
_STYLES = {logging.DEBUG: "dim", logging.INFO: "dim", logging.WARNING: "yellow", logging.ERROR: "bold red"}


@contextmanager
def show_work(bars: Bars) -> Iterator[None]:
    """Draws a bar for each task and prints what the library logs, until the block ends."""
    lines = _Lines()
    logger = logging.getLogger("jetseg")
    level = logger.level
    logger.addHandler(lines)
    logger.setLevel(logging.INFO)
    try:
        with report_progress(bars):
            yield
    finally:
        bars.close()
        logger.removeHandler(lines)
        logger.setLevel(level)


class Bars:
    """A listener that draws; the bars of tasks that run at the same time stand under each other.

    Attributes:
        stage: What is done, by the task that was told of last; empty between tasks.
    """

    def __init__(self) -> None:
        self.stage = ""
        self._progress: Progress | None = None
        self._open: dict[int, TaskID] = {}

    def __call__(self, task: Task) -> None:
        """Draws where a task stands."""
        if self._progress is None:
            self._progress = _make_progress()
            self._progress.start()
        self.stage = "" if task.finished else task.description[:1].lower() + task.description[1:]
        key = id(task)
        if key not in self._open:
            self._open[key] = self._progress.add_task(task.description, total=task.total, note="")
        self._progress.update(self._open[key], completed=task.done, total=task.total, note=task.note)
        if task.finished:
            del self._open[key]
            if not self._open:
                self.close()

    def close(self) -> None:
        """Leaves the bars as they are."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
        self._open.clear()


def _make_progress() -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=console,
    )


class _Lines(logging.Handler):
    """Prints log records as plain lines."""

    def emit(self, record: logging.LogRecord) -> None:
        """Prints one record."""
        print_lines(record.getMessage(), style=_STYLES.get(record.levelno), console=console)
