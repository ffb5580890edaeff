"""Several cameras on one engine: a drive for each, by turns."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from jetseg.address import SourceAddress
from jetseg.camera.cameras import settings_of, sink_of
from jetseg.camera.config import RunConfig
from jetseg.camera.contract import Sink, Source
from jetseg.camera.loop import one_opencv_thread
from jetseg.camera.stopping import StopFlag
from jetseg.camera.turns import Turns
from jetseg.config import validate_config
from jetseg.dashboard.pages import Dashboard, MeteredCamera, MetricsPage
from jetseg.engine.engine import Engine
from jetseg.errors import ConfigError, StageStoppedError
from jetseg.monitor.engine_speed import EngineSpeed
from jetseg.monitor.events import Event, EventLog
from jetseg.monitor.host import HostMonitor
from jetseg.monitor.rate import combined_rate
from jetseg.monitor.run_log import RunLog
from jetseg.network import Network
from jetseg.workflows.drive import Drive, DriveResult, Follower, Share
from jetseg.workflows.driving import make_ready
from jetseg.workflows.engines import Engines

_POLL_SECONDS = 0.05
_LEFT_SECONDS = 3.0
"""For a camera whose loop hangs, after the others have ended."""


def run_cameras(
    engine: Engine | Network | Path | str,
    *,
    sources: Mapping[str, Source | SourceAddress | str],
    ladder: Sequence[Network | Path | str] = (),
    shadow: Network | Path | str | None = None,
    sinks: Sequence[str] = (),
    manifest: Path | str | None = None,
    threads: int | None = None,
    events: EventLog | None = None,
    stop: StopFlag | None = None,
    speed: EngineSpeed | None = None,
    key: Path | str | None = None,
    **settings: Any,  # noqa: ANN401 - checked by the model
) -> FleetResult:
    """Runs one engine on several cameras by turns, and measures each as `run_camera` does.

    Each camera has a capture, a clock, monitors and figures of its own, and its limits count for itself. One that fails
    is reported by "camera-failed", and takes no other down; only an engine that hangs ends all.

    Args:
        engine: See `jetseg.workflows.driving.run_camera`, as for what is not named here.
        sources: By the name of the camera.
        ladder: Lighter engines; each camera steps down for itself.
        shadow: Opened once for each camera.
        sinks: With {camera} for the name of the camera.
        manifest: Manifest for files that have none beside them.
        threads: Threads of a CPU backend.
        events: Gets what happens to each, with `camera` among its values.
        stop: Ends all from outside.
        speed: Of the engine alone.
        key: Public key.
        settings: Fields of `jetseg.camera.config.RunConfig`; `jetseg.camera.cameras.settings_of` tells where the
            outputs of each camera go.

    Raises:
        ConfigError: Settings are wrong.
        StageStoppedError: The engine does not come back.
        JetsegError: Something cannot be opened, or every camera failed.
    """
    with open_fleet(
        engine,
        sources=sources,
        ladder=ladder,
        shadow=shadow,
        sinks=sinks,
        manifest=manifest,
        threads=threads,
        events=events,
        stop=stop,
        speed=speed,
        key=key,
        **settings,
    ) as fleet:
        fleet.run()
    return fleet.result()


@contextmanager
def open_fleet(
    engine: Engine | Network | Path | str,
    *,
    sources: Mapping[str, Source | SourceAddress | str],
    ladder: Sequence[Network | Path | str] = (),
    shadow: Network | Path | str | None = None,
    sinks: Sequence[str] = (),
    manifest: Path | str | None = None,
    threads: int | None = None,
    events: EventLog | None = None,
    stop: StopFlag | None = None,
    speed: EngineSpeed | None = None,
    followers: Sequence[Follower] = (),
    viewers: Mapping[str, Sequence[Sink]] | None = None,
    key: Path | str | None = None,
    **settings: Any,  # noqa: ANN401 - checked by the model
) -> Iterator[Fleet]:
    """Opens everything that a run of several cameras needs, and closes it; see `run_cameras`.

    `followers` are told of each camera, and `viewers` are opened sinks of one camera each.
    """
    config = validate_config(RunConfig, settings)
    events, stop = events or EventLog(), stop or StopFlag()
    if isinstance(shadow, Engine):
        raise ConfigError("One opened engine cannot be the shadow of several cameras.", "Give the file that it is of.")
    divided = {name: settings_of(config, name, number) for number, name in enumerate(sources)}
    with ExitStack() as stack:
        engines = Engines(stack, engine, ladder, config, manifest=manifest, threads=threads, key=key, speed=speed)
        engines.follow(events, stop)
        if config.log is not None:
            stack.enter_context(closing(RunLog(config.log, events)))
        host, turns = stack.enter_context(HostMonitor(events)), Turns()
        drives: dict[str, Drive] = {}
        for name, source in sources.items():
            told = EventLog()
            told.listen(_Forward(name, events))
            share = Share(name, turns.join(), host)
            drives[name] = Drive(stack, engines.first, source, divided[name], told, StopFlag(), share)
        pages = _open_pages(stack, config, events, drives)
        for name, drive in drives.items():
            drive.open_pages(followers)
            own = [sink_of(sink, name) for sink in sinks]
            make_ready(drive, engines, shadow, [*own, *(viewers or {}).get(name, ())])
        for page in pages:
            stack.enter_context(page.serve())
        yield Fleet(drives, turns, pages, events, stop)


class Fleet:
    """Several cameras with everything open; see `open_fleet`.

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
            name: threading.Thread(
                target=self._run_one, args=(name, drive, give_up), name=f"jetseg-{name}", daemon=True
            )
            for name, drive in self.drives.items()
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


@dataclass(frozen=True)
class _Forward:
    """Tells the events of one camera to the log of all."""

    camera: str
    events: EventLog

    def __call__(self, event: Event) -> None:
        values = {**event.values, "camera": self.camera}
        self.events.add(event.kind, event.severity, f"{self.camera}: {event.text}", **values)


def _open_pages(
    stack: ExitStack, config: RunConfig, events: EventLog, drives: Mapping[str, Drive]
) -> list[MetricsPage | Dashboard]:
    """Opens the pages that show all cameras."""
    pages: list[MetricsPage | Dashboard] = []
    if config.metrics is not None:
        metrics = stack.enter_context(closing(MetricsPage(config.dashboard_host, config.metrics, events)))
        for name, drive in drives.items():
            drive.add(MeteredCamera(metrics.metrics, name))
        pages.append(metrics)
    if config.dashboard is not None:
        titles = {name: {**drive.title, "source": f"{name}: {drive.source.name}"} for name, drive in drives.items()}
        manifest = next(iter(drives.values())).engine.manifest
        dashboard = Dashboard(config.dashboard_host, config.dashboard, manifest, events, titles, config.alpha)
        stack.enter_context(closing(dashboard))
        for name, drive in drives.items():
            drive.add(dashboard.cameras[name], dashboard.cameras[name].view)
        pages.append(dashboard)
    return pages
