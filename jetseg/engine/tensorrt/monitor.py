"""Draws a build on the progress bar, and ends it on Ctrl-C."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from rich.progress import Progress, TaskID


def make_monitor(trt: ModuleType, bar: Progress, interrupted: Callable[[], bool]) -> Any:  # noqa: ANN401
    """Makes a progress monitor for `trt` that draws the outermost phase on a bar and names the innermost one.

    An exception in a callback would be lost inside the library: it ends the build, and is kept as `error`.

    Args:
        trt: TensorRT, or a library with the same interface.
        bar: Where to draw.
        interrupted: Asked at each step; True ends the build.
    """

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.error: Exception | None = None
            self._phases = _Phases(bar)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._guard(self._phases.start, phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            self._guard(self._phases.advance, phase_name, step + 1)
            return self.error is None and not interrupted()

        def phase_finish(self, phase_name: str) -> None:
            self._guard(self._phases.finish, phase_name)

        def _guard(self, action: Callable[..., None], *arguments: Any) -> None:  # noqa: ANN401
            try:
                action(*arguments)
            except Exception as error:  # whatever it is, it must not reach the library
                self.error = self.error or error

    return Monitor()


class _Phases:
    """The phases of a build on a bar."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._tasks: dict[str, TaskID] = {}
        self._steps: dict[str, int] = {}

    def start(self, name: str, parent: str | None, steps: int) -> None:
        if not parent:
            self._tasks[name] = self._bar.add_task(name, total=steps)
            self._steps[name] = steps
            return
        for task in self._tasks.values():
            self._bar.update(task, note=name)

    def advance(self, name: str, completed: int) -> None:
        if name in self._tasks:
            self._bar.update(self._tasks[name], completed=completed)

    def finish(self, name: str) -> None:
        if name in self._tasks:
            self._bar.update(self._tasks[name], completed=self._steps[name], note="")
