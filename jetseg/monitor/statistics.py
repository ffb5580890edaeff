"""What a running loop knows about itself; sinks and dashboards read it, the loop writes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter

from jetseg.monitor.accuracy import RunningAccuracy
from jetseg.monitor.engine_speed import EngineSpeed
from jetseg.monitor.events import EventLog
from jetseg.monitor.rate import FrameRate, LatencyRecord, Percentiles

STAGES = ("capture", "preprocess", "infer", "postprocess", "accuracy", "overlay", "output")


@dataclass(frozen=True)
class LoopSummary:
    """What a run of the loop came to. captured = frames + dropped.

    Attributes:
        frames: Frames that got a class map.
        captured: Frames that the source gave.
        dropped: Frames that a newer one replaced, or that were under way when the loop was told to stop.
        seconds: Length of the run.
        frames_per_second: Class maps per second; None with fewer than two frames.
        engine_frames_per_second: The bare engine's rate, measured just before the run.
        frame_age_ms: From capture to the class map being ready for use.
        stage_ms: Time spent in each stage that ran.
        miou: In percent, over the frames that have labels; None without labels.
        per_class_iou: In percent; None without labels.
    """

    frames: int
    captured: int
    dropped: int
    seconds: float
    frames_per_second: float | None
    engine_frames_per_second: float | None
    frame_age_ms: Percentiles | None
    stage_ms: dict[str, Percentiles]
    miou: float | None
    per_class_iou: dict[str, float | None] | None


class LoopStatistics:
    """The live figures of one run. Each stage is written by one thread; any thread may read.

    Args:
        engine: The bare engine's speed.
        accuracy: Accuracy against labels, where the source has them.
        events: What happened; a log of its own if none is given.
    """

    def __init__(
        self, engine: EngineSpeed, accuracy: RunningAccuracy | None = None, events: EventLog | None = None
    ) -> None:
        self.engine = engine
        self.accuracy = accuracy
        self.events = events or EventLog()
        self.stages = {stage: LatencyRecord() for stage in STAGES}
        self.frame_age = LatencyRecord()
        self.rate = FrameRate()
        self.captured = 0
        self.dropped = 0
        self._started = perf_counter()
        self._ended: float | None = None

    @property
    def seconds(self) -> float:
        """Time since the run started, or its whole length after `end`."""
        return (self._ended or perf_counter()) - self._started

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Adds the time that the block takes to a stage."""
        started = perf_counter()
        yield
        self.stages[stage].add(perf_counter() - started)

    def add_class_map(self, captured_at: float, ready_at: float) -> None:
        """Counts a frame whose class map is ready; both moments in `perf_counter` seconds."""
        self.frame_age.add(ready_at - captured_at)
        self.rate.add(ready_at)

    def start(self) -> None:
        """Marks the beginning of the run."""
        self._started = perf_counter()

    def end(self) -> None:
        """Marks the end of the run."""
        self._ended = perf_counter()

    def summary(self) -> LoopSummary:
        """Returns the figures so far."""
        score = self.accuracy.score() if self.accuracy else None
        stages = {name: record.percentiles() for name, record in self.stages.items()}
        return LoopSummary(
            frames=self.rate.count,
            captured=self.captured,
            dropped=self.dropped,
            seconds=self.seconds,
            frames_per_second=self.rate.frames_per_second,
            engine_frames_per_second=self.engine.frames_per_second,
            frame_age_ms=self.frame_age.percentiles(),
            stage_ms={name: figures for name, figures in stages.items() if figures},
            miou=score.miou if score else None,
            per_class_iou=score.per_class_iou if score else None,
        )
