"""From an engine and a source of frames to a measured run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from jetseg.address import SourceAddress
from jetseg.camera.config import RunConfig
from jetseg.camera.contract import Sink, Source
from jetseg.camera.stopping import StopFlag
from jetseg.config import validate_config
from jetseg.engine.engine import Engine
from jetseg.monitor.engine_speed import EngineSpeed
from jetseg.monitor.events import EventLog
from jetseg.network import Network
from jetseg.workflows.drive import Drive, Follower
from jetseg.workflows.drive_result import DriveResult
from jetseg.workflows.engines import Engines


def run_camera(
    engine: Engine | Network | Path | str,
    *,
    source: Source | SourceAddress | str,
    ladder: Sequence[Network | Path | str] = (),
    shadow: Engine | Network | Path | str | None = None,
    sinks: Sequence[Sink | str] = (),
    manifest: Path | str | None = None,
    threads: int | None = None,
    events: EventLog | None = None,
    stop: StopFlag | None = None,
    speed: EngineSpeed | None = None,
    key: Path | str | None = None,
    **settings: Any,  # noqa: ANN401 - checked by the model
) -> DriveResult:
    """Runs an engine on a source until it ends or a limit is reached, and measures it.

    Args:
        engine: Engine, ONNX file or checkpoint: opened, in which case the caller closes it, or by its path or name; or
            a release of `jetseg deploy`. The run ends when a link to one, as engines/current, leads to another.
        source: Where frames come from, opened or as `jetseg.camera.sources.opening.open_source` takes it; it is
            closed at the end.
        ladder: Lighter engines, from better to lightest, which serve while `deadline_ms` is missed.
        shadow: The network that the engine was made from: some frames are compared with it, in the background.
        sinks: What takes every processed frame: opened, in which case the caller closes it, or NAME:PLACE with a name
            of `jetseg.registry.SINKS`.
        manifest: Manifest for files that have none beside them.
        threads: Threads of a CPU backend.
        events: Gets what happens; whoever wants to know at once listens to it.
        stop: Ends the run from outside; see also `jetseg.camera.stopping.stop_on_signals`.
        speed: Of the engine alone, where it is known; else it is measured before the run.
        key: Public key of minisign that every network that is not open yet must be signed with; see
            `jetseg.kit.signature.key_in_force`.
        settings: Fields of `jetseg.camera.config.RunConfig`, as in `frames=100` or `output="drive.mp4"`.

    Returns:
        The figures of the run, and what they belong to.

    Raises:
        ConfigError: Settings are wrong, or contradict the source.
        StageStoppedError: A stage does not come back; its thread is left.
        JetsegError: Something cannot be opened, or whatever a stage raised.

    >>> found = run_camera("camvid-light", source="synthetic:2", labels=False, threads=1)
    >>> found.summary.frames, found.summary.dropped
    (2, 0)
    """
    with open_drive(
        engine,
        source=source,
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
    ) as drive:
        drive.run()
    return drive.result()


@contextmanager
def open_drive(
    engine: Engine | Network | Path | str,
    *,
    source: Source | SourceAddress | str,
    ladder: Sequence[Network | Path | str] = (),
    shadow: Engine | Network | Path | str | None = None,
    sinks: Sequence[Sink | str] = (),
    manifest: Path | str | None = None,
    threads: int | None = None,
    events: EventLog | None = None,
    stop: StopFlag | None = None,
    speed: EngineSpeed | None = None,
    followers: Sequence[Follower] = (),
    key: Path | str | None = None,
    **settings: Any,  # noqa: ANN401 - checked by the model
) -> Iterator[Drive]:
    """Opens everything that a run needs, so that mistakes show before it, and closes it; see `run_camera`.

    For those who look at a run or end it while it goes on, or want its figures after it failed;
    `followers` are told of it from its first frame on, as logs are.
    """
    config = validate_config(RunConfig, settings)
    events, stop = events or EventLog(), stop or StopFlag()
    with ExitStack() as stack:
        engines = Engines(stack, engine, ladder, config, manifest=manifest, threads=threads, key=key, speed=speed)
        engines.follow(events, stop)
        drive = Drive(stack, engines.first, source, config, events, stop)
        drive.open_pages(followers)
        make_ready(drive, engines, shadow, sinks)
        yield drive


def make_ready(
    drive: Drive, engines: Engines, shadow: Engine | Network | Path | str | None, sinks: Sequence[Sink | str]
) -> None:
    """Opens what a drive lacks after its source and its pages."""
    # more threads than one would not have the shadow's low priority
    drive.open_monitor(None if shadow is None else engines.enter(shadow, 1))
    drive.open_sinks(sinks)
    speed_of = partial(engines.speed_of, drive.stop)
    drive.measure(speed_of)
    drive.open_ladder(engines.lighter, speed_of)
    drive.follow()
