"""Reports how a build goes on, and ends it on Ctrl-C."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from jetseg.progress import Task, current_listener, start_task


def make_monitor(trt: ModuleType, interrupted: Callable[[], bool]) -> Any:  # noqa: ANN401
    """Makes a progress monitor for `trt` that reports the outermost phase and names the innermost one.

    An exception in a callback would be lost inside the library: it ends the build, and is kept as `error`.

    Args:
        trt: TensorRT, or a library with the same interface.
        interrupted: Asked at each step; True ends the build.
    """

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.error: Exception | None = None
            self._phases = _Phases()

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
    """The outermost phases of a build, a task each."""

    def __init__(self) -> None:
        self._listener = current_listener()  # callbacks may come from a thread of the library
        self._tasks: dict[str, Task] = {}

    def start(self, name: str, parent: str | None, steps: int) -> None:
        if not parent:
            self._tasks[name] = start_task(name, steps, self._listener)
            return
        for task in self._tasks.values():
            task.update(note=name)

    def advance(self, name: str, completed: int) -> None:
        if name in self._tasks:
            self._tasks[name].update(done=completed)

    def finish(self, name: str) -> None:
        if name in self._tasks:
            task = self._tasks.pop(name)
            task.update(done=task.total, note="")
            task.finish()
