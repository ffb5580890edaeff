"""The stages of the realtime loop on their threads, and how they end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Thread
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from jetseg.camera.channel import Channel, ChannelClosed
from jetseg.camera.contract import FrameResult, Sink, Source, SourceFrame
from jetseg.camera.overlay import Overlay
from jetseg.camera.stopping import StopFlag
from jetseg.engine.contract import Runner
from jetseg.errors import DeviceError
from jetseg.monitor.statistics import LoopStatistics
from jetseg.postprocess import ClassMap, class_map
from jetseg.preprocess import NetworkInput, Preprocessor

_POLL_SECONDS = 0.1
_JOIN_SECONDS = 15.0
"""Longer than any read that OpenCV bounds itself (V4L2: 10 seconds)."""


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


class Pipeline:
    """The stages of one run and the channels between them; see `jetseg.camera.loop.run`."""

    def __init__(
        self,
        runner: Runner,
        *,
        source: Source,
        sinks: Sequence[Sink],
        overlay: Overlay | None,
        statistics: LoopStatistics,
        stop: StopFlag,
        frames: int | None,
        seconds: float | None,
    ) -> None:
        self._limit = frames
        self._seconds = seconds
        self._runner = runner
        self._source = source
        self._sinks = sinks
        self._statistics = statistics
        self._stop = stop
        self._overlay = overlay
        self._failure: BaseException | None = None
        self._frames: Channel[SourceFrame] = Channel(1, latest=source.live)
        self._prepared: Channel[_Prepared] = Channel(1, latest=source.live)
        self._inferred: Channel[_Inferred] = Channel(1, latest=source.live)

    def run(self) -> None:
        """Runs until the source or a limit ends it; every thread has ended when this returns or raises."""
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
        statistics = self._statistics
        limit = None if self._source.live else self._limit
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
        while self._limit is None or self._statistics.rate.count < self._limit:
            try:
                inferred = self._inferred.get(_POLL_SECONDS)
            except TimeoutError:
                pass
            except ChannelClosed:
                break
            else:
                self._finish(inferred)
            if self._seconds is not None and self._statistics.seconds >= self._seconds:
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
        self._statistics.dropped = sum(channel.dropped for channel in (self._frames, self._prepared, self._inferred))

    def _abandon(self) -> None:
        for channel in (self._frames, self._prepared, self._inferred):
            channel.abandon()

    def _join(self, threads: Sequence[Thread]) -> None:
        for thread in threads:
            thread.join(_JOIN_SECONDS)
            if thread.is_alive():
                self._failure = self._failure or DeviceError(
                    f"The {thread.name.removeprefix('jetseg-')} stage did not end within {_JOIN_SECONDS:.0f} seconds.",
                    f"Check that {self._source.name} still answers.",
                )
