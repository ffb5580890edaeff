"""A run with everything open: the engines, the monitors, the sinks and the pages around the loop."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass
from math import inf
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from jetseg.address import SourceAddress
from jetseg.camera.config import RunConfig, SourceConfig
from jetseg.camera.contract import Sink, SinkContext, Source
from jetseg.camera.ladder import Ladder, LadderEngine
from jetseg.camera.loop import new_statistics, run_loop
from jetseg.camera.sinks.collect import open_collection
from jetseg.camera.sinks.monitors import MonitorSink, open_monitor
from jetseg.camera.sinks.opening import open_sink, sinks_of
from jetseg.camera.sources.opening import open_source
from jetseg.camera.stopping import StopFlag
from jetseg.camera.turns import Turn, Turns
from jetseg.dashboard.pages import Dashboard, MeteredCamera, MetricsPage
from jetseg.engine.engine import Engine
from jetseg.errors import StageStoppedError
from jetseg.main_thread import opening, phase, working
from jetseg.monitor.engine_speed import EngineSpeed
from jetseg.monitor.events import EventLog
from jetseg.monitor.host import HostMonitor
from jetseg.monitor.observer import Listener, Observer
from jetseg.monitor.run_log import RunLog
from jetseg.monitor.score_tap import ScoreTap
from jetseg.monitor.statistics import LoopStatistics
from jetseg.network import Network
from jetseg.provenance import device_name, toolchain
from jetseg.report.rows import backend_of
from jetseg.shipped import find_artifact
from jetseg.workflows.drive_result import DriveResult

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Share:
    """What a camera of several has of what is there once.

    Attributes:
        camera: Its name; empty if it is alone.
        turn: Its part in the engines.
        host: The machine.
    """

    camera: str
    turn: Turn
    host: HostMonitor


class Drive:
    """A run with everything open; see `open_drive`.

    Attributes:
        config: Its settings.
        engine: The engine.
        source: Where frames come from.
        events: What happened.
        stop: Ends it from outside.
        share: What it shares with other cameras, if there are some.
        host: The machine.
        monitor: Drift, shadow and the alarm on accuracy.
        statistics: Its live figures.
        errors: Always empty, for `run` raises; a run of several cameras has those of its cameras here.
    """

    errors: Mapping[str, Exception] = MappingProxyType({})

    def __init__(
        self,
        stack: ExitStack,
        engine: Engine,
        source: Source | SourceAddress | str,
        config: RunConfig,
        events: EventLog,
        stop: StopFlag,
        share: Share | None = None,
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
                seen = engine.manifest.input
                asked |= {"window": seen.frames, "slices": seen.slices, "classes": engine.manifest.classes}
                source = open_source(source, events=events, **asked)
        self.source = source
        stack.callback(self._close_unread)
        self.share = share or Share("", Turns().join(), stack.enter_context(HostMonitor(events)))
        self.host = self.share.host
        self._tap = ScoreTap(engine)
        self._name = place_of(engine)
        self._followers: list[Follower] = []
        self._pages: list[MetricsPage | Dashboard] = []
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
            turn=self.share.turn,
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

    @property
    def source_names(self) -> str:
        """What the user called the source."""
        return self.source.name

    @property
    def has_frames(self) -> bool:
        """Whether a class map was ready."""
        return bool(self.statistics.rate.count)

    @property
    def title(self) -> dict[str, str]:
        """What a page names at its top."""
        return {"engine": Path(self._name).name, "source": self.source.name}

    def open_pages(self, followers: Sequence[Follower]) -> None:
        """Opens the log, the metrics and the dashboard, beside those that follow already."""
        self._followers.extend(followers)
        config, events, host = self.config, self.events, self.config.dashboard_host
        if config.log is not None:
            self._followers.append(self._stack.enter_context(closing(RunLog(config.log, events))))
        if config.metrics is not None:
            page = self._stack.enter_context(closing(MetricsPage(host, config.metrics, events)))
            self.add(MeteredCamera(page.metrics))
            self._pages.append(page)
        if config.dashboard is not None:
            dashboard = Dashboard(host, config.dashboard, self.engine.manifest, events, {"": self.title}, config.alpha)
            self.add(dashboard.cameras[""], dashboard.cameras[""].view)
            self._pages.append(self._stack.enter_context(closing(dashboard)))

    def add(self, follower: Follower, *sinks: Sink) -> None:
        """Has one more follow the run, and its sinks take the frames."""
        self._followers.append(follower)
        self._sinks.extend(sinks)

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
            self.share.camera,
        )
        for spec, options in sinks_of(self.config):
            self._sinks.append(self._stack.enter_context(open_sink(spec, context, **options)))
        for sink in wanted:
            opened = self._stack.enter_context(open_sink(sink, context)) if isinstance(sink, str) else sink
            self._sinks.append(opened)

    def measure(self, speed_of: Callable[[Engine], EngineSpeed]) -> None:
        """Makes the figures; `speed_of` times the engine alone."""
        with phase("timing"):
            speed = speed_of(self.engine)
        self.statistics = new_statistics(self.engine, self.source, engine=speed, events=self.events)

    def open_ladder(self, lighter: Sequence[tuple[str, Engine]], speed_of: Callable[[Engine], EngineSpeed]) -> None:
        """Warms the lighter engines before any of them serves; `speed_of` measures one."""
        names = [self._name, *(name for name, _ in lighter)]
        short = [Path(name).name for name in names]
        names = short if len(set(short)) == len(short) else names
        engines = [LadderEngine(names[0], self._tap, self.statistics.engine)]
        for name, (_, engine) in zip(names[1:], lighter, strict=True):
            with phase("timing"):
                engines.append(LadderEngine(name, engine, speed_of(engine)))
        self._ladder = Ladder(engines, self.events, is_hot=self.host.is_hot)

    def follow(self) -> None:
        """Lets log, metrics and dashboard follow the run."""
        observer = Observer(self.statistics, self.host, further=self.monitor.summary)
        for watcher in self._watchers:
            observer.listen(watcher)
        for follower in self._followers:
            self._stack.enter_context(follower.follow(observer))
        for page in self._pages:
            self._stack.enter_context(page.serve())
        self._stack.enter_context(observer)

    def _close_unread(self) -> None:
        """Closes a source that the loop never got; else the thread that read from it has closed it."""
        if not self._begun:
            self.source.close()


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
