"""Where `jetseg run` sends what it sees and knows: the options, and opening them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from jetseg.camera.contract import Sink, Source
    from jetseg.manifest import Manifest
    from jetseg.monitor.events import EventLog
    from jetseg.monitor.host import HostMonitor, HostSummary
    from jetseg.monitor.observer import Observer
    from jetseg.monitor.statistics import LoopStatistics

_GIGABYTE = 1_000_000_000
RECORD = typer.Option(
    metavar="DIR", help="Record the frames with colored classes in segments, which survive even a power cut."
)
SEGMENT_SECONDS = typer.Option(min=1.0, help="Length of a recorded segment.")
RECORD_GB = typer.Option(min=0.01, metavar="GB", help="Delete the oldest segments in DIR beyond this size.")
CLASS_MAPS = typer.Option(metavar="DIR", help="Write every class map as an 8-bit PNG of ids.")
RING = typer.Option(
    metavar="NAME", help="Give class maps to other processes in shared memory; see jetseg.camera.sinks.ring."
)
PUBLISH = typer.Option(
    metavar="ADDRESS", help="Publish class maps and their statistics over ZeroMQ, as in tcp://127.0.0.1:5556."
)
LOG = typer.Option(metavar="DIR|FILE", help="Write events and figures as JSON lines in files that rotate.")
METRICS = typer.Option(min=0, max=65535, metavar="PORT", help="Serve /metrics for Prometheus.")
DASHBOARD = typer.Option(min=0, max=65535, metavar="PORT", help="Serve a page that shows the run.")
DASHBOARD_HOST = typer.Option(
    metavar="ADDRESS",
    help="Where dashboard and metrics listen. Beyond loopback, anyone who reaches the port sees the camera.",
)


@dataclass(frozen=True)
class OutputOptions:
    """The options above, as they were given."""

    record: Path | None = None
    segment_seconds: float = 60.0
    record_gb: float | None = None
    class_maps: Path | None = None
    ring: str | None = None
    publish: str | None = None
    log: Path | None = None
    metrics: int | None = None
    dashboard: int | None = None
    dashboard_host: str = "127.0.0.1"
    alpha: float = 0.5


@dataclass
class Outputs:
    """What is open: the sinks, and what begins when the run's statistics exist."""

    host: HostMonitor
    sinks: list[Sink] = field(default_factory=list)
    followers: list[Callable[[ExitStack, Observer], None]] = field(default_factory=list)

    @contextmanager
    def follow(self, statistics: LoopStatistics, further: Callable[[], Mapping[str, Any]] = dict) -> Iterator[None]:
        """Lets log, metrics and dashboard follow a run until the block ends.

        Args:
            statistics: Of the run.
            further: Gives what other monitors say of themselves; any thread may call it.
        """
        from jetseg.monitor.observer import Observer

        with ExitStack() as stack:
            observer = Observer(statistics, self.host, further=further)
            for follower in self.followers:
                follower(stack, observer)
            with observer:
                yield


@contextmanager
def open_outputs(
    options: OutputOptions, source: Source, manifest: Manifest, events: EventLog, title: Mapping[str, str]
) -> Iterator[Outputs]:
    """Opens every output that was asked for, so that mistakes show before the run, and closes them.

    Args:
        options: What was asked for.
        source: A live one loses frames that an output has no time for.
        manifest: Of the network.
        events: Of the run.
        title: Engine and source, for the dashboard.

    Raises:
        JetsegError: One of them cannot be opened.
    """
    from jetseg.monitor.host import HostMonitor

    with ExitStack() as stack:
        outputs = Outputs(stack.enter_context(HostMonitor(events)))
        if options.log is not None:
            _open_log(options.log, events, stack, outputs)
        _open_recordings(options, source, events, stack, outputs)
        _open_streams(options, source, manifest, events, stack, outputs)
        if options.metrics is not None:
            _open_metrics(options, options.metrics, events, stack, outputs)
        if options.dashboard is not None:
            _open_dashboard(options, options.dashboard, manifest, events, title, stack, outputs)
        yield outputs


def host_line(summary: HostSummary | None) -> str:
    """Writes what the machine did during a run, as one line."""
    if summary is None:
        return "machine: the run was too short to tell"
    parts = [f"CPU {summary.cpu_percent:.0f}%", f"this process {summary.process_mb:.0f} MB at most"]
    if summary.temperature_c is not None:
        parts.append(f"{summary.temperature_c:.0f} °C at most")
    if summary.power_w is not None:
        parts.append(f"{summary.power_w:.1f} W")
    if summary.power_mode is not None:
        parts.append(f"power mode {summary.power_mode}")
    if summary.throttled_seconds is None:
        parts.append("whether it throttled is not known here")
    elif summary.throttled_seconds:
        parts.append(f"throttled for {summary.throttled_seconds:.0f} s: it ran slower than it can")
    else:
        parts.append("never throttled")
    return "machine: " + ", ".join(parts)


def _open_log(path: Path, events: EventLog, stack: ExitStack, outputs: Outputs) -> None:
    from jetseg.monitor.run_log import RunLog

    log = RunLog(path, events)
    stack.callback(log.close)

    def follow(open_while_running: ExitStack, observer: Observer) -> None:
        observer.listen(log.add_observation)
        open_while_running.callback(lambda: log.add_last(observer.observe()))

    outputs.followers.append(follow)


def _open_recordings(
    options: OutputOptions, source: Source, events: EventLog, stack: ExitStack, outputs: Outputs
) -> None:
    from jetseg.camera.sinks.background import in_background

    if options.record is not None:
        from jetseg.camera.sinks.segments import SegmentedRecording

        limit = None if options.record_gb is None else int(options.record_gb * _GIGABYTE)
        recording = SegmentedRecording(options.record, options.segment_seconds, limit)
        outputs.sinks.append(stack.enter_context(in_background(recording, events, live=source.live)))
    if options.class_maps is not None:
        from jetseg.camera.sinks.class_map_files import ClassMapFiles

        files = ClassMapFiles(options.class_maps)
        outputs.sinks.append(stack.enter_context(in_background(files, events, live=source.live)))


def _open_streams(
    options: OutputOptions, source: Source, manifest: Manifest, events: EventLog, stack: ExitStack, outputs: Outputs
) -> None:
    if options.ring is not None:
        from jetseg.camera.sinks.ring import RingWriter

        ring = RingWriter(options.ring, manifest.input.height * manifest.input.width)
        stack.callback(ring.close)
        outputs.sinks.append(ring)
    if options.publish is not None:
        from jetseg.camera.sinks.background import in_background
        from jetseg.camera.sinks.publish import Publisher

        publisher = Publisher(options.publish, manifest.classes)
        outputs.sinks.append(stack.enter_context(in_background(publisher, events, live=source.live)))


def _open_metrics(options: OutputOptions, port: int, events: EventLog, stack: ExitStack, outputs: Outputs) -> None:
    from jetseg.dashboard.app import metrics_app
    from jetseg.dashboard.server import PageServer
    from jetseg.monitor.metrics import Metrics

    host = options.dashboard_host
    metrics = Metrics(events)
    server = PageServer(metrics_app(metrics, host, events), host, port, option="--metrics", events=events)
    stack.callback(server.close)

    def follow(open_while_running: ExitStack, observer: Observer) -> None:
        metrics.observer = observer
        open_while_running.enter_context(server)
        _say(f"Metrics: {server.url}metrics")

    outputs.followers.append(follow)


def _open_dashboard(
    options: OutputOptions,
    port: int,
    manifest: Manifest,
    events: EventLog,
    title: Mapping[str, str],
    stack: ExitStack,
    outputs: Outputs,
) -> None:
    from jetseg.dashboard.app import dashboard_app
    from jetseg.dashboard.live import LiveFigures, LivePicture
    from jetseg.dashboard.server import PageServer

    picture = LivePicture(manifest, options.alpha)
    figures = LiveFigures(events, picture, manifest, title)
    app = dashboard_app(picture, figures, options.dashboard_host, events)
    server = PageServer(app, options.dashboard_host, port, option="--dashboard", events=events)
    stack.callback(server.close)
    outputs.sinks.append(picture)

    def follow(open_while_running: ExitStack, observer: Observer) -> None:
        figures.follow(observer)
        open_while_running.enter_context(server)
        _say(f"Dashboard: {server.url}")

    outputs.followers.append(follow)


def _say(text: str) -> None:
    from jetseg.cli.bars import console

    console.print(text, style="dim", markup=False, highlight=False, soft_wrap=True)
