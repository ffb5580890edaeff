"""Several cameras with everything open, on one engine: a drive for each, by turns."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from jetseg.camera.loop import one_opencv_thread
from jetseg.camera.stopping import StopFlag
from jetseg.camera.turns import Turns
from jetseg.dashboard.pages import Dashboard, MetricsPage
from jetseg.errors import StageStoppedError
from jetseg.monitor.events import EventLog
from jetseg.monitor.rate import combined_rate
from jetseg.workflows.drive import Drive
from jetseg.workflows.drive_result import DriveResult

_POLL_SECONDS = 0.05
_LEFT_SECONDS = 3.0
"""For a camera whose loop hangs, after the others have ended."""


class Fleet:
    """Several cameras with everything open; see `jetseg.workflows.cameras.open_fleet`.

    Attributes:
        drives: By the name of the camera.
        pages: What shows all of them.
        events: What happened to any of them.
        stop: Ends all from outside.
        errors: What ended cameras that failed.
    """

    def __init__(
        self,
        drives: Mapping[str, Drive],
        turns: Turns,
        pages: Sequence[MetricsPage | Dashboard],
        events: EventLog,
        stop: StopFlag,
    ) -> None:
        self.drives, self.pages, self.events, self.stop = drives, tuple(pages), events, stop
        self._turns = turns
        self.errors: dict[str, Exception] = {}
        self._hung: dict[str, StageStoppedError] = {}

    @property
    def source_names(self) -> str:
        """What the user called the sources."""
        return ", ".join(f"{name} ({drive.source.name})" for name, drive in self.drives.items())

    @property
    def has_frames(self) -> bool:
        """Whether any camera's class map was ready."""
        return any(drive.has_frames for drive in self.drives.values())

    def run(self, *, give_up: Callable[[StageStoppedError], None] | None = None) -> None:
        """Runs all loops, each in a thread of its own, until all have ended.

        Args:
            give_up: Called, in a thread of its own, when the engine hangs, or when a camera's loop still does after all
                others have ended. It should end the process after some seconds.

        Raises:
            StageStoppedError: The engine hangs.
            JetsegError: Every camera failed.
        """
        threads = {
            name: threading.Thread(target=self._run_one, args=(name, give_up), name=f"jetseg-{name}", daemon=True)
            for name in self.drives
        }
        with one_opencv_thread():
            for thread in threads.values():
                thread.start()
            try:
                while any(thread.is_alive() for name, thread in threads.items() if name not in self._hung):
                    self._pass_stop_on()
                    time.sleep(_POLL_SECONDS)
            finally:
                self.stop.requested = True
                self._pass_stop_on()
                self._await(threads, give_up)
        engine_error = next((error for error in self._hung.values() if error.stage == "infer"), None)
        if engine_error is not None or len(self.errors) == len(self.drives):
            raise engine_error or next(iter(self.errors.values()))

    def result(self) -> FleetResult:
        """Returns the figures so far; any thread may ask."""
        rates = [drive.statistics.rate for drive in self.drives.values()]
        return FleetResult(
            {name: drive.result() for name, drive in self.drives.items()},
            {name: str(error) for name, error in self.errors.items()},
            combined_rate(rates),
        )

    def _run_one(self, name: str, give_up: Callable[[StageStoppedError], None] | None) -> None:
        def note_hanging(error: StageStoppedError) -> None:
            self._hung[name] = error
            self._fail(name, error)
            if error.stage == "infer":
                self.stop.requested = True
                self._turns.end()
                if give_up is not None:
                    give_up(error)

        try:
            self.drives[name].run(give_up=note_hanging)
        except Exception as error:
            self._fail(name, error)

    def _fail(self, name: str, error: Exception) -> None:
        if name not in self.errors:
            self.errors[name] = error
            self.drives[name].events.add("camera-failed", "alarm", f"It ended, and the others go on: {error}")

    def _pass_stop_on(self) -> None:
        if self.stop.requested:
            for drive in self.drives.values():
                drive.stop.by_signal |= self.stop.by_signal
                drive.stop.requested = True

    def _await(
        self, threads: Mapping[str, threading.Thread], give_up: Callable[[StageStoppedError], None] | None
    ) -> None:
        """Waits for all loops to end, for those that hang only a moment."""
        until = None
        while alive := [name for name, thread in threads.items() if thread.is_alive()]:
            if all(name in self._hung for name in alive):
                until = until or perf_counter() + _LEFT_SECONDS
                if perf_counter() > until:
                    break
            threads[alive[0]].join(_POLL_SECONDS)
            self._pass_stop_on()
        if alive and give_up is not None:
            threading.Thread(target=give_up, args=(self._hung[alive[0]],), name="jetseg-give-up", daemon=True).start()


@dataclass(frozen=True)
class FleetResult:
    """What a run of several cameras came to.

    Attributes:
        cameras: By name.
        errors: What ended cameras that failed.
        frames_per_second: Class maps of all together; None with too few frames.
    """

    cameras: Mapping[str, DriveResult]
    errors: Mapping[str, str]
    frames_per_second: float | None

    @property
    def engine_frames_per_second(self) -> float | None:
        """The bare engine's rate, measured just before the run."""
        return next(iter(self.cameras.values())).engine_frames_per_second

    def as_dict(self) -> dict[str, Any]:
        """Returns everything as plain values, for JSON."""
        summaries = [result.summary for result in self.cameras.values()]
        return {
            "frames": sum(summary.frames for summary in summaries),
            "captured": sum(summary.captured for summary in summaries),
            "dropped": sum(summary.dropped for summary in summaries),
            "frames_per_second": self.frames_per_second,
            "engine_frames_per_second": self.engine_frames_per_second,
            "errors": dict(self.errors),
            "cameras": {name: result.as_dict() for name, result in self.cameras.items()},
        }
