"""The realtime loop: capture, preprocess and infer on threads of their own, the rest in the caller's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread
from time import perf_counter
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from jetseg.camera.channel import Channel, ChannelClosed
from jetseg.camera.contract import FrameResult, Sink, Source, SourceFrame
from jetseg.camera.overlay import Overlay
from jetseg.camera.stopping import StopFlag, stop_on_signals
from jetseg.engine.contract import Runner
from jetseg.errors import DeviceError
from jetseg.evaluate.accuracy import check_classes
from jetseg.monitor.accuracy import RunningAccuracy
from jetseg.monitor.engine_speed import EngineSpeed, measure_engine_speed
from jetseg.monitor.statistics import LoopStatistics
from jetseg.postprocess import ClassMap, class_map
from jetseg.preprocess import NetworkInput, Preprocessor

_POLL_SECONDS = 0.1
_JOIN_SECONDS = 15.0
"""Longer than any read that OpenCV bounds itself (V4L2: 10 seconds)."""


class LoopConfig(BaseModel):
    """Settings of the loop.

    `frames` and `seconds` end it; `alpha` is the weight of the class colors in the overlay, 0..1.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    frames: int | None = Field(default=None, gt=0)
    seconds: float | None = Field(default=None, gt=0)
    alpha: float = Field(default=0.5, ge=0, le=1)
    legend: bool = False


def run(
    config: LoopConfig,
    runner: Runner,
    source: Source,
    sinks: Sequence[Sink] = (),
    *,
    statistics: LoopStatistics | None = None,
    stop: StopFlag | None = None,
) -> LoopStatistics:
    """Runs a network on a source until it ends, a limit is reached, or SIGINT or SIGTERM arrives.

    A live source gets the latest-frame policy at every hand-over: a stage that is busy finds the newest
    frame when it is free, and what was replaced counts as dropped. Other sources lose no frame.

    Args:
        config: Limits and overlay.
        runner: The network; the caller closes it.
        source: Where frames come from; it is closed at the end.
        sinks: Take every processed frame, in the calling thread, which also owns any window.
        statistics: From `new_statistics`, which is called if they are not given. They are the caller's to
            read also after an error.
        stop: Ends the run from outside.

    Returns:
        The figures of the run.

    Raises:
        JetsegError: Whatever any stage raised, after all threads have ended.
    """
    stop = stop or StopFlag()
    with _one_opencv_thread(), stop_on_signals(stop):
        pipeline = _Pipeline(
            config,
            runner=runner,
            source=source,
            sinks=sinks,
            statistics=statistics or new_statistics(runner, source, stop=stop),
            stop=stop,
        )
        return pipeline.run()


def new_statistics(
    runner: Runner, source: Source, *, stop: StopFlag | None = None, engine: EngineSpeed | None = None
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
        engine = measure_engine_speed(runner, stopped=lambda: stop is not None and stop.requested)
    return LoopStatistics(engine, accuracy)


@dataclass(frozen=True)
class _Prepared:
    frame: SourceFrame
    network_input: NetworkInput


@dataclass(frozen=True)
class _Inferred:
    """The raw output, or already the class map where the runner would overwrite the output."""

    frame: SourceFrame
    result: npt.NDArray[Any]
    is_class_map: bool


class _Pipeline:
    """The stages of one run and the channels between them."""

    def __init__(
        self,
        config: LoopConfig,
        *,
        runner: Runner,
        source: Source,
        sinks: Sequence[Sink],
        statistics: LoopStatistics,
        stop: StopFlag,
    ) -> None:
        self._config = config
        self._runner = runner
        self._source = source
        self._sinks = sinks
        self._statistics = statistics
        self._stop = stop
        self._overlay: Overlay | None = None
        if any(sink.wants_overlay for sink in sinks):
            self._overlay = Overlay(runner.manifest, config.alpha, legend=config.legend)
        self._failure: BaseException | None = None
        self._frames: Channel[SourceFrame] = Channel(1, latest=source.live)
        self._prepared: Channel[_Prepared] = Channel(1, latest=source.live)
        self._inferred: Channel[_Inferred] = Channel(1, latest=source.live)

    def run(self) -> LoopStatistics:
        stages = {
            "capture": (self._capture, self._frames),
            "preprocess": (self._preprocess, self._prepared),
            "infer": (self._infer, self._inferred),
        }
        threads = [
            Thread(target=self._guard, args=stage, name=f"jetseg-{name}", daemon=True)
            for name, stage in stages.items()
        ]
        self._statistics.start()
        for thread in threads:
            thread.start()
        try:
            self._consume()
        finally:
            self._stop.requested = True
            self._abandon()
            self._join(threads)
            self._count_dropped()
            self._statistics.end()
        if self._failure is not None:
            raise self._failure
        return self._statistics

    def _guard(self, work: Callable[[], None], output: Channel[Any]) -> None:
        """Runs a stage; what it raises stops all others and is raised by `run`."""
        try:
            work()
        except BaseException as error:
            self._failure = self._failure or error
            self._abandon()
        finally:
            output.close()

    def _capture(self) -> None:
        statistics, frames = self._statistics, self._config.frames
        limit = None if self._source.live else frames
        try:
            while not self._stop.requested and (limit is None or statistics.captured < limit):
                frame = self._source.read()
                if frame is None:
                    break
                statistics.stages["capture"].add(perf_counter() - frame.captured_at)
                statistics.captured += 1
                if not self._frames.put(frame):
                    break
        finally:
            self._source.close()

    def _preprocess(self) -> None:
        preprocess = Preprocessor(self._runner.manifest.input)
        for frame in self._frames:
            with self._statistics.timed("preprocess"):
                network_input = preprocess(frame.image_hwc_u8)
            if not self._prepared.put(_Prepared(frame, network_input)):
                break

    def _infer(self) -> None:
        for prepared in self._prepared:
            with self._statistics.timed("infer"):
                output = self._runner.infer(prepared.network_input)
            must_finish = not self._statistics.engine.outputs_stay
            result = self._class_map(output) if must_finish else output
            inferred = _Inferred(prepared.frame, result, must_finish)
            if not self._inferred.put(inferred):
                break

    def _class_map(self, output: npt.NDArray[Any]) -> ClassMap:
        with self._statistics.timed("postprocess"):
            return class_map(np.asarray(output), self._runner.manifest)

    def _consume(self) -> None:
        """Finishes frames in the calling thread, the only one that gets signals and may own a window."""
        limit = self._config.frames
        while limit is None or self._statistics.rate.count < limit:
            try:
                inferred = self._inferred.get(_POLL_SECONDS)
            except TimeoutError:
                pass
            except ChannelClosed:
                break
            else:
                self._finish(inferred)
            if self._config.seconds is not None and self._statistics.seconds >= self._config.seconds:
                self._stop.requested = True
            if self._stop.requested:
                self._frames.close()

    def _finish(self, inferred: _Inferred) -> None:
        statistics, frame = self._statistics, inferred.frame
        ids = inferred.result if inferred.is_class_map else self._class_map(inferred.result)
        ready_at = perf_counter()
        statistics.add_class_map(frame.captured_at, ready_at)
        self._count_dropped()
        if statistics.accuracy is not None and frame.label_hw_u8 is not None:
            with statistics.timed("accuracy"):
                statistics.accuracy.add(frame.label_hw_u8, ids)
        overlay = None
        if self._overlay is not None:
            with statistics.timed("overlay"):
                overlay = self._overlay.draw(frame.image_hwc_u8, ids, statistics)
        result = FrameResult(frame, ids, ready_at, overlay, statistics)
        if self._sinks:
            with statistics.timed("output"):
                for sink in self._sinks:
                    sink.write(result)

    def _count_dropped(self) -> None:
        self._statistics.dropped = sum(
            channel.dropped for channel in (self._frames, self._prepared, self._inferred)
        )

    def _abandon(self) -> None:
        for channel in (self._frames, self._prepared, self._inferred):
            channel.abandon()

    def _join(self, threads: Sequence[Thread]) -> None:
        for thread in threads:
            thread.join(_JOIN_SECONDS)
            if thread.is_alive():
                self._failure = self._failure or DeviceError(
                    f"The {thread.name.removeprefix('jetseg-')} stage did not end within {_JOIN_SECONDS:.0f} "
                    "seconds.",
                    f"Check that {self._source.name} still answers.",
                )


@contextmanager
def _one_opencv_thread() -> Iterator[None]:
    """Keeps OpenCV's thread pool from taking the engine's cores for work of a millisecond."""
    earlier = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(earlier)
