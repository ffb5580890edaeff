"""From an engine and several cameras to a measured run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jetseg.address import SourceAddress
from jetseg.camera.cameras import settings_of, sink_of
from jetseg.camera.config import RunConfig
from jetseg.camera.contract import Sink, Source
from jetseg.camera.stopping import StopFlag
from jetseg.camera.turns import Turns
from jetseg.config import validate_config
from jetseg.dashboard.pages import Dashboard, MeteredCamera, MetricsPage
from jetseg.engine.engine import Engine
from jetseg.errors import ConfigError
from jetseg.monitor.engine_speed import EngineSpeed
from jetseg.monitor.events import Event, EventLog
from jetseg.monitor.host import HostMonitor
from jetseg.monitor.run_log import RunLog
from jetseg.network import Network
from jetseg.workflows.drive import Drive, Follower, Share
from jetseg.workflows.driving import make_ready
from jetseg.workflows.engines import Engines
from jetseg.workflows.fleet import Fleet, FleetResult


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
