"""A run with everything open: the engines, the monitors, the sinks and the pages around the loop."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import asdict, dataclass
from math import inf
from pathlib import Path
from typing import Any, Protocol

from jetseg.address import SourceAddress
from jetseg.camera.config import OutputConfig, RunConfig, SourceConfig
from jetseg.camera.contract import Sink, SinkContext, Source
from jetseg.camera.ladder import Ladder, LadderEngine
from jetseg.camera.loop import new_statistics, run_loop
from jetseg.camera.sinks.collect import open_collection
from jetseg.camera.sinks.monitors import MonitorSink, open_monitor
from jetseg.camera.sinks.opening import open_sink
from jetseg.camera.sources.opening import open_source
from jetseg.camera.stopping import StopFlag
from jetseg.dashboard.pages import Dashboard, MetricsPage
from jetseg.engine.engine import Engine
from jetseg.errors import StageStoppedError
from jetseg.main_thread import opening, phase, working
from jetseg.monitor.engine_speed import EngineSpeed, measure_engine_speed
from jetseg.monitor.events import EventLog
from jetseg.monitor.host import HostMonitor, HostSummary
from jetseg.monitor.observer import Listener, Observer
from jetseg.monitor.run_log import RunLog
from jetseg.monitor.score_tap import ScoreTap
from jetseg.monitor.statistics import LoopStatistics, LoopSummary
from jetseg.network import Network
from jetseg.provenance import device_name, toolchain
from jetseg.report.rows import backend_of
from jetseg.shipped import find_artifact

_LOG = logging.getLogger(__name__)


class Drive:
    """A run with everything open; see `open_drive`.

    Attributes:
        config: Its settings.
        engine: The engine.
        source: Where frames come from.
        events: What happened.
        stop: Ends it from outside.
        host: The machine.
        monitor: Drift, shadow and the alarm on accuracy.
        statistics: Its live figures.
    """

    def __init__(
        self,
        stack: ExitStack,
        engine: Engine,
        source: Source | SourceAddress | str,
        config: RunConfig,
        events: EventLog,
        stop: StopFlag,
    ) -> None:
        self.config, self.engine, self.events, self.stop = config, engine, events, stop
        self.monitor: MonitorSink
        self.statistics: LoopStatistics
        self._stack = stack
        self._begun = False
        if isinstance(source, str | SourceAddress):
            asked = {name: getattr(config, name) for name in SourceConfig.model_fields}
            # whoever waits for a camera waits for ever
            with working("opening the source", inf) if config.wait else opening("the source"):
                asked |= {"window": engine.manifest.input.frames, "classes": engine.manifest.classes}
                source = open_source(source, events=events, **asked)
        self.source = source
        stack.callback(self._close_unread)
        self.host = stack.enter_context(HostMonitor(events))
        self._tap = ScoreTap(engine)
        self._name = place_of(engine)
        self._followers: list[Follower] = []
        self._sinks: list[Sink] = []
        self._watchers: list[Listener] = []
        self._ladder: Ladder

    def run(self, *, give_up: Callable[[StageStoppedError], None] | None = None) -> None:
        """Runs the loop in the calling thread, once; see `jetseg.camera.loop.run_loop`."""
        self._begun = True
        run_loop(
            self.config,
            self._tap,
            self.source,
            self._sinks,
            statistics=self.statistics,
            stop=self.stop,
            ladder=self._ladder,
            give_up=give_up,
        )

    def result(self) -> DriveResult:
        """Returns the figures so far; any thread may ask."""
        manifest, output = self.engine.manifest, self.config.output
        conditions = {
            "engine": self._name,
            "source": self.source.name,
            "split": self.source.split,
            "output": str(output) if output else None,
            "device": device_name(),
            "backend": backend_of(manifest),
            "precision": manifest.precision,
            "toolchain": toolchain(),
        }
        monitors = self.monitor.summary()
        if monitors["estimate"] is not None:
            monitors["estimate"]["windows"] = self.monitor.windows()
        return DriveResult(conditions, self.statistics.summary(), monitors, self.host.summary())

    def open_pages(self, followers: Sequence[Follower]) -> None:
        """Opens the log, the metrics and the dashboard, beside those that follow already."""
        self._followers.extend(followers)
        config, events, host = self.config, self.events, self.config.dashboard_host
        if config.log is not None:
            self._followers.append(self._stack.enter_context(closing(RunLog(config.log, events))))
        if config.metrics is not None:
            self._followers.append(self._stack.enter_context(closing(MetricsPage(host, config.metrics, events))))
        if config.dashboard is not None:
            title = {"engine": Path(self._name).name, "source": self.source.name}
            page = Dashboard(host, config.dashboard, self.engine.manifest, events, title, config.alpha)
            self._followers.append(self._stack.enter_context(closing(page)))
            self._sinks.append(page.view)

    def open_monitor(self, reference: Engine | None) -> None:
        """Opens the monitors of accuracy: drift, shadow, labels."""
        config = self.config
        if config.drift and self.engine.manifest.profile is None:
            _LOG.info(
                "Drift is not watched: the engine's manifest has no calibration profile. "
                "`jetseg baseline` measures one."
            )
        collection = None
        if config.collect is not None:
            name, live, manifest = self.source.name, self.source.live, self.engine.manifest
            collecting = open_collection(config.collect, config.collect_gb, manifest, name, self.events, live=live)
            collection = self._stack.enter_context(collecting)
        self.monitor = self._stack.enter_context(
            open_monitor(
                self._tap,
                self.source,
                drift=config.drift,
                estimate=config.estimate,
                least_miou=config.estimate_bound,
                reference=reference,
                every=config.shadow_every,
                bound=config.shadow_bound,
                collection=collection,
            )
        )
        self._sinks.append(self.monitor)

    def open_sinks(self, wanted: Sequence[Sink | str]) -> None:
        """Opens the sinks that settings or a name ask for."""
        source = self.source
        context = SinkContext(
            self.engine.manifest,
            self.events,
            self.stop,
            source.live,
            source.frames_per_second,
            source.size_hw,
            self._watchers.append,
            source.name,
            self.config.alpha,
        )
        for spec, options in _sinks_of(self.config):
            self._sinks.append(self._stack.enter_context(open_sink(spec, context, **options)))
        for sink in wanted:
            opened = self._stack.enter_context(open_sink(sink, context)) if isinstance(sink, str) else sink
            self._sinks.append(opened)

    def measure(self, speed: EngineSpeed | None) -> None:
        """Makes the figures; times the engine alone, where its speed is not known."""
        if speed is None:
            _LOG.info("Timing %s alone, for comparison ...", Path(self._name).name)
        with phase("timing"):
            self.statistics = new_statistics(
                self.engine, self.source, stopped=self._stopped, engine=speed, events=self.events
            )

    def open_ladder(self, lighter: Sequence[tuple[str, Engine]]) -> None:
        """Warms the lighter engines before any of them serves."""
        names = [self._name, *(name for name, _ in lighter)]
        short = [Path(name).name for name in names]
        names = short if len(set(short)) == len(short) else names
        engines = [LadderEngine(names[0], self._tap, self.statistics.engine)]
        for name, (_, engine) in zip(names[1:], lighter, strict=True):
            with phase("timing"):
                engines.append(LadderEngine(name, engine, measure_engine_speed(engine, stopped=self._stopped)))
        self._ladder = Ladder(engines, self.events, is_hot=self.host.is_hot)

    def follow(self) -> None:
        """Lets log, metrics and dashboard follow the run."""
        observer = Observer(self.statistics, self.host, further=self.monitor.summary)
        for watcher in self._watchers:
            observer.listen(watcher)
        for follower in self._followers:
            self._stack.enter_context(follower.follow(observer))
        self._stack.enter_context(observer)

    def _stopped(self) -> bool:
        return self.stop.requested

    def _close_unread(self) -> None:
        """Closes a source that the loop never got; else the thread that read from it has closed it."""
        if not self._begun:
            self.source.close()


@dataclass(frozen=True)
class DriveResult:
    """What a run came to.

    Attributes:
        conditions: What the figures belong to: engine, source, split, device, backend, precision, toolchain.
        summary: The figures of the loop.
        monitors: Where "drift", "estimate" and "shadow" stand; None for what is off.
        host: What the machine did; None if the run was too short to tell.
    """

    conditions: Mapping[str, Any]
    summary: LoopSummary
    monitors: Mapping[str, Any]
    host: HostSummary | None

    def as_dict(self) -> dict[str, Any]:
        """Returns everything as plain values, for JSON."""
        host = None if self.host is None else asdict(self.host)
        return {**self.conditions, **asdict(self.summary), **self.monitors, "host": host}


class Follower(Protocol):
    """Something that follows a run from outside the loop: a log, a page."""

    def follow(self, observer: Observer) -> AbstractContextManager[None]:
        """Follows while the block runs."""
        ...


def place_of(network: Engine | Network | Path | str) -> str:
    """Returns the file that is meant, for people."""
    if isinstance(network, Engine):
        return "engine" if network.network is None else str(network.network.path)
    return str(network.path if isinstance(network, Network) else find_artifact(Path(network)))


def _sinks_of(config: OutputConfig) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the sinks that have settings of their own, with those."""
    limits = {"segment_seconds": config.segment_seconds, "limit_gb": config.record_gb}
    if config.record is not None:
        yield f"segments:{config.record}", limits
    if config.record_mcap is not None:
        yield f"mcap:{config.record_mcap}", {**limits, "lossless": not config.mcap_jpeg}
    named = {
        "class_map_files": config.class_maps,
        "ring": config.ring,
        "publish": config.publish,
        "ros2": config.ros2,
        "mqtt": config.mqtt,
        "foxglove": None if config.foxglove is None else f"{config.dashboard_host}:{config.foxglove}",
        "video": config.output,
    }
    for name, place in named.items():
        if place is not None:
            yield f"{name}:{place}", {}
    if config.show:
        yield "window", {}
