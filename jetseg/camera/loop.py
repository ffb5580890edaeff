"""The realtime loop: a network on a source of frames, measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import cv2

from jetseg.camera.config import LoopConfig
from jetseg.camera.contract import Sink, Source
from jetseg.camera.ladder import Ladder, LadderEngine
from jetseg.camera.overlay import Overlay
from jetseg.camera.pipeline import Pipeline
from jetseg.camera.stopping import StopFlag
from jetseg.camera.turns import Turn, Turns
from jetseg.engine.backend import Runner
from jetseg.errors import StageStoppedError
from jetseg.evaluation.accuracy import check_classes
from jetseg.monitor.accuracy import RunningAccuracy
from jetseg.monitor.engine_speed import EngineSpeed, measure_engine_speed
from jetseg.monitor.events import EventLog
from jetseg.monitor.statistics import LoopStatistics


def run_loop(
    config: LoopConfig,
    runner: Runner,
    source: Source,
    sinks: Sequence[Sink] = (),
    *,
    statistics: LoopStatistics | None = None,
    stop: StopFlag | None = None,
    ladder: Ladder | None = None,
    turn: Turn | None = None,
    give_up: Callable[[StageStoppedError], None] | None = None,
) -> LoopStatistics:
    """Runs a network on a source until it ends, a limit is reached, or `stop` is set.

    A live source gets the latest-frame policy at every hand-over: a stage that is busy finds the newest
    frame when it is free, and what was replaced counts as dropped. Other sources lose no frame.

    Args:
        config: Limits and overlay.
        runner: The network; the caller closes it. With a ladder, its best one.
        source: Where frames come from; it is closed at the end.
        sinks: Take every processed frame, in the calling thread, which also owns any window.
        statistics: From `new_statistics`, which is called if they are not given. They are the caller's to
            read also after an error.
        stop: Ends the run from outside; see also `jetseg.camera.stopping.stop_on_signals`.
        ladder: Engines to change between while running; without it `runner` serves alone.
        turn: This loop's part in the engines, where others use them as well.
        give_up: Called, in a thread of its own, when a stage stopped. It should end the process after some
            seconds: what hangs may be the calling thread, and then this function does not return.

    Returns:
        The figures of the run.

    Raises:
        StageStoppedError: A stage does not come back; its thread is left.
        JetsegError: Whatever any stage raised, after all threads have ended.
    """
    stop = stop or StopFlag()
    with one_opencv_thread():
        statistics = statistics or new_statistics(runner, source, stopped=lambda: stop.requested)
        statistics.losses = source.losses
        if config.deadline_ms is not None:
            statistics.deadline_seconds = config.deadline_ms / 1e3
        drawn = any(sink.wants_overlay for sink in sinks)
        pipeline = Pipeline(
            config,
            ladder or Ladder([LadderEngine("engine", runner, statistics.engine)]),
            source=source,
            sinks=sinks,
            overlay=Overlay(runner.manifest, config.alpha, legend=config.legend) if drawn else None,
            statistics=statistics,
            stop=stop,
            turn=turn or Turns().join(),
            give_up=give_up,
        )
        pipeline.run()
    return statistics


def new_statistics(
    runner: Runner,
    source: Source,
    *,
    stopped: Callable[[], bool] = lambda: False,
    engine: EngineSpeed | None = None,
    events: EventLog | None = None,
) -> LoopStatistics:
    """Makes the object in which a run keeps its figures; measures the bare engine unless `engine` is given.

    Raises:
        DataError: The source's labels have other classes than the network.
    """
    accuracy = None
    if source.classes is not None:
        check_classes(runner.manifest.classes, source.classes, source.name)
        accuracy = RunningAccuracy(source.classes, source.ignore_index)
    if engine is None:
        engine = measure_engine_speed(runner, stopped=stopped)
    return LoopStatistics(engine, accuracy, events, source.losses)


@contextmanager
def one_opencv_thread() -> Iterator[None]:
    """Keeps OpenCV's thread pool from taking the engine's cores for work of a millisecond."""
    earlier = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(earlier)
