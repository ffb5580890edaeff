"""The stages of the realtime loop on their threads, and how they end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Thread
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from jetseg.camera.channel import Channel, ChannelClosed
from jetseg.camera.config import LoopConfig
from jetseg.camera.contract import FrameResult, Sink, Source, SourceFrame
from jetseg.camera.ladder import Ladder, LadderEngine
from jetseg.camera.overlay import Overlay
from jetseg.camera.stopping import StopFlag
from jetseg.camera.turns import Turn
from jetseg.camera.watchdog import Watchdog
from jetseg.engine.backend import infer_all
from jetseg.errors import DeviceError, StageStoppedError
from jetseg.evaluation.finite import all_finite
from jetseg.monitor.statistics import LoopStatistics
from jetseg.monitor.task_figures import task_figures
from jetseg.postprocess import TaskMap, task_maps
from jetseg.preprocess import NetworkInput, Preprocessor

_POLL_SECONDS = 0.1
_JOIN_SECONDS = 15.0
_JOIN_AFTER_STOP_SECONDS = 1.0
"""For the stages beside one that the watchdog found stopped."""


@dataclass(frozen=True)
class _Prepared:
    frame: SourceFrame
    engine: LadderEngine
    network_input: NetworkInput


@dataclass(frozen=True)
class _Inferred:
    frame: SourceFrame
    engine: LadderEngine
    outputs: Sequence[npt.NDArray[Any]]


class Pipeline:
    """The stages of one run and the channels between them; see `jetseg.camera.loop.run_loop`."""

    def __init__(
        self,
        config: LoopConfig,
        ladder: Ladder,
        *,
        source: Source,
        sinks: Sequence[Sink],
        overlay: Overlay | None,
        statistics: LoopStatistics,
        stop: StopFlag,
        turn: Turn,
        give_up: Callable[[StageStoppedError], None] | None,
    ) -> None:
        self._turn = turn
        self._limit = config.frames
        self._seconds = config.seconds
        self._ladder = ladder
        self._source = source
        self._sinks = sinks
        self._statistics = statistics
        self._stop = stop
        self._overlay = overlay
        self._give_up = give_up
        self._watchdog = Watchdog(statistics, config.watchdog_seconds, self._end_stopped, stop)
        self._failure: BaseException | None = None
        self._lost_in_failure = 0
        self._frames: Channel[SourceFrame] = Channel(1, latest=source.live)
        self._prepared: Channel[_Prepared] = Channel(1, latest=source.live)
        self._inferred: Channel[_Inferred] = Channel(1, latest=source.live)
        self._channels = self._frames, self._prepared, self._inferred

    def run(self) -> None:
        """Runs until the source or a limit ends it; every thread has ended when this returns or raises.

        After a `StageStoppedError` the thread of that stage may be left.
        """
        stages = {
            "capture": (self._capture, self._frames),
            "preprocess": (self._preprocess, self._prepared),
            "infer": (self._infer, self._inferred),
        }
        threads = [
            Thread(target=self._guard, args=stage, name=f"jetseg-{name}", daemon=True) for name, stage in stages.items()
        ]
        self._statistics.start()
        for thread in threads:
            thread.start()
        self._watchdog.start()
        try:
            self._consume()
        finally:
            self._stop.requested = True
            self._abandon()
            self._join(threads)
            self._watchdog.end()
            self._count_dropped()
            self._statistics.end()
        if self._failure is not None:
            raise self._failure

    def _guard(self, work: Callable[[], None], output: Channel[Any]) -> None:
        """Runs a stage; what it raises stops all others and is raised by `run`."""
        try:
            work()
        except BaseException as error:
            self._failure = self._failure or error
            self._abandon()
        finally:
            output.close()

    def _end_stopped(self, error: StageStoppedError) -> None:
        """Ends the run because a stage stopped; `give_up` ends the process if that does not succeed."""
        self._failure = self._failure or error
        self._stop.requested = True
        self._abandon()
        if self._give_up is not None:
            Thread(target=self._give_up, args=(error,), name="jetseg-give-up", daemon=True).start()
        self._statistics.events.add("stage-stopped", "alarm", error.found, stage=error.stage)

    def _capture(self) -> None:
        statistics = self._statistics
        limit = None if self._source.live else self._limit
        try:
            while not self._stop.requested and (limit is None or statistics.read < limit):
                try:
                    with statistics.busy("capture"):
                        frame = self._source.read()
                except TimeoutError:
                    statistics.waits += 1
                    continue
                if frame is None:
                    break
                statistics.stages["capture"].add(perf_counter() - frame.captured_at)
                statistics.read += 1
                statistics.age_since = frame.dated_by or ("arrival" if self._source.live else "reading")
                if not self._frames.put(frame):
                    break
        finally:
            self._source.close()

    def _preprocess(self) -> None:
        preprocessors = {engine.name: Preprocessor(engine.runner.manifest.input) for engine in self._ladder.engines}
        for frame in self._frames:
            engine = self._ladder.serving
            with self._in_hand(), self._statistics.timed("preprocess"):
                network_input = preprocessors[engine.name](frame.image_hwc_u8)
            if not self._prepared.put(_Prepared(frame, engine, network_input)):
                break

    def _infer(self) -> None:
        with suppress(ChannelClosed):
            while True:
                with self._turn.frame(self._prepared) as prepared, self._in_hand():
                    engine = prepared.engine
                    with self._statistics.timed("infer"):
                        outputs = infer_all(engine.runner, prepared.network_input)
                        if not engine.speed.outputs_stay:
                            outputs = [np.array(output) for output in outputs]
                if not self._inferred.put(_Inferred(prepared.frame, engine, outputs)):
                    break
                del outputs  # the engine writes to this memory again when nobody holds it

    @contextmanager
    def _in_hand(self) -> Iterator[None]:
        """Counts the frame that a stage holds, if it fails on it."""
        try:
            yield
        except BaseException:
            self._lost_in_failure += 1
            raise

    def _maps(self, inferred: _Inferred) -> dict[str, TaskMap]:
        engine = inferred.engine
        with self._in_hand(), self._statistics.timed("postprocess"):
            scores = [np.asarray(output) for output in inferred.outputs]
            self._statistics.scores.add(engine.name, perf_counter(), finite=all(map(all_finite, scores)))
            return task_maps(scores, engine.runner.manifest)

    def _consume(self) -> None:
        """Finishes frames in the calling thread, the only one that gets signals and may own a window."""
        while self._limit is None or self._statistics.rate.count < self._limit:
            try:
                inferred = self._inferred.get(_POLL_SECONDS)
            except TimeoutError:
                pass
            except ChannelClosed:
                break
            else:
                frame, engine, maps = inferred.frame, inferred.engine, self._maps(inferred)
                del inferred  # as in `_infer`
                self._finish(frame, engine, maps)
            if self._seconds is not None and self._statistics.seconds >= self._seconds:
                self._stop.requested = True
            if self._stop.requested:
                self._frames.close()

    def _finish(self, frame: SourceFrame, engine: LadderEngine, maps: dict[str, TaskMap]) -> None:
        statistics = self._statistics
        ids = maps.pop(engine.runner.manifest.output.label).astype(np.uint8, copy=False)
        ready_at = perf_counter()
        late = statistics.add_class_map(frame.captured_at, ready_at)
        self._ladder.observe(engine, ready_at, late=late, deadline_seconds=statistics.deadline_seconds)
        self._count_dropped()
        if len(self._ladder.engines) > 1:
            statistics.serving = engine.name
            statistics.frames_by_engine[engine.name] = statistics.frames_by_engine.get(engine.name, 0) + 1
        if maps:
            statistics.tasks = task_figures(maps)
        if statistics.accuracy is not None and frame.label_hw_u8 is not None:
            with statistics.timed("accuracy"):
                statistics.accuracy.add(frame.label_hw_u8, ids)
        overlay = None
        if self._overlay is not None:
            with statistics.timed("overlay"):
                overlay = self._overlay.draw(frame.image_hwc_u8, ids, statistics, maps)
        result = FrameResult(frame, ids, ready_at, overlay, statistics, maps)
        if self._sinks:
            with statistics.timed("output"):
                for sink in self._sinks:
                    sink.write(result)

    def _count_dropped(self) -> None:
        self._statistics.dropped_in_loop = {
            "preprocess": self._frames.dropped,
            "infer": self._prepared.dropped,
            "output": self._inferred.dropped,
            "shutdown": sum(channel.abandoned for channel in self._channels),
            "failure": self._lost_in_failure,
        }

    def _abandon(self) -> None:
        for channel in self._channels:
            channel.abandon()

    def _join(self, threads: Sequence[Thread]) -> None:
        began = perf_counter()
        for thread in threads:
            while thread.is_alive():
                stopped = isinstance(self._failure, StageStoppedError)  # which may show while it is waited for
                if perf_counter() - began >= (_JOIN_AFTER_STOP_SECONDS if stopped else _JOIN_SECONDS):
                    break
                thread.join(_POLL_SECONDS)
            stage = thread.name.removeprefix("jetseg-")
            if thread.is_alive():
                self._lost_in_failure += stage != "capture"
                self._failure = self._failure or DeviceError(
                    f"The {stage} stage did not end within {_JOIN_SECONDS:.0f} seconds.",
                    f"Check that {self._source.name} still answers.",
                )
