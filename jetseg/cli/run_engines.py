"""The engines of `jetseg run`: those of the ladder, and the reference that one is compared with."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jetseg.cli.entries import manifest_for
from jetseg.cli.run_summary import print_summary, say
from jetseg.shipped import find_artifact

if TYPE_CHECKING:
    from jetseg.camera.contract import Source
    from jetseg.camera.ladder import Ladder
    from jetseg.camera.sinks.monitors import MonitorSink
    from jetseg.engine.backend import Runner
    from jetseg.errors import StageStoppedError
    from jetseg.monitor.statistics import LoopStatistics

_SECONDS_TO_END = 5.0
"""For the summary and the recording, after a stage stopped."""


def lighter_engines(engine: Path, ladder: str | None, deadline_ms: float | None) -> list[Path]:
    """Returns the engines of `--ladder` after the first one, which is ENGINE whether it is named there or not."""
    from jetseg.errors import ConfigError

    paths = [find_artifact(Path(name.strip())) for name in (ladder or "").split(",") if name.strip()]
    for path in paths:
        if not path.exists():
            raise ConfigError(
                f"--ladder names {path}, which is no file, and no network of that name comes with jetseg.",
                "Give engines from best to lightest, separated by commas.",
            )
    if paths and deadline_ms is None:
        raise ConfigError("--ladder was given without --deadline-ms.", "Say how old a frame may be.")
    lighter = paths[1:] if paths[:1] == [engine] else paths
    if engine in lighter:
        raise ConfigError(f"--ladder names {engine} after another engine.", "Give the best engine as ENGINE.")
    return lighter


def open_ladder(
    stack: ExitStack,
    statistics: LoopStatistics,
    engine: Path,
    runner: Runner,
    lighter: list[Path],
    threads: int | None,
    is_hot: Callable[[], bool],
) -> Ladder:
    """Opens and warms the lighter engines before any of them serves."""
    from jetseg.camera.ladder import Ladder, Rung
    from jetseg.cli.artifacts import open_any
    from jetseg.monitor.engine_speed import measure_engine_speed

    paths = [engine, *lighter]
    is_clear = len({path.name for path in paths}) == len(paths)
    rungs = [Rung(engine.name if is_clear else str(engine), runner, statistics.engine)]
    for path in lighter:
        other = open_any(path, None, threads)
        stack.callback(other.close)
        rungs.append(Rung(path.name if is_clear else str(path), other, measure_engine_speed(other)))
    return Ladder(rungs, statistics.events, is_hot=is_hot)


def end_process(statistics: LoopStatistics, conditions: dict[str, Any], error: StageStoppedError) -> None:
    """Ends a process in which a stage hangs, if it has not ended by itself after some seconds."""
    time.sleep(_SECONDS_TO_END)
    print_summary(statistics.summary(), conditions, to_stderr=True)
    say(f"Error: {error}")
    os._exit(error.exit_code)


def open_watch(
    stack: ExitStack,
    runner: Runner,
    source: Source,
    *,
    drift: bool,
    shadow: Path | None,
    manifest: Path | None,
    every: int,
    bound: float | None,
) -> MonitorSink:
    """Opens the monitors of accuracy: drift, shadow, labels."""
    from jetseg.camera.sinks.monitors import open_monitor
    from jetseg.engine.opening import open_runner

    reference = None
    if shadow is not None:
        # more threads than one would not have the shadow's low priority
        reference = open_runner(shadow, manifest_file=manifest_for(shadow, manifest), threads=1)
        stack.callback(reference.close)
    if drift and runner.manifest.profile is None:
        say(
            "Drift is not watched: the engine's manifest has no calibration profile. "
            "`jetseg profile ENGINE --data SPEC` measures one."
        )
    return stack.enter_context(open_monitor(runner, source, drift=drift, reference=reference, every=every, bound=bound))
