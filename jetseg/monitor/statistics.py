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
from jetseg.monitor.score_watch import ScoreWatch

STAGES = ("capture", "preprocess", "infer", "postprocess", "accuracy", "overlay", "output")


@dataclass
class SourceLosses:
    """Frames that a source got from its camera and could not give. The source writes, any thread may read.

    Attributes:
        dropped: Replaced by a newer one before anyone read them.
        corrupt: Damaged, or missing from the stream by its own timestamps.
    """

    dropped: int = 0
    corrupt: int = 0


@dataclass(frozen=True)
class LoopSummary:
    """What a run of the loop came to. captured = frames + dropped + corrupt.

    Attributes:
        frames: Frames that got a class map.
        captured: Frames that the camera or file gave.
        dropped: Frames that were not segmented.
        dropped_by_cause: The same by cause: the stage for which a frame waited until a newer one replaced it,
            "shutdown" for those under way when the loop was told to stop, "failure" for those in a stage that
            failed.
        corrupt: Frames that came damaged, or that are missing by the stream's own timestamps.
        seconds: Length of the run.
        frames_per_second: Class maps per second; None with fewer than two frames.
        engine_frames_per_second: The bare engine's rate, measured just before the run.
        frame_age_ms: From capture to the class map being ready for use.
        frame_age_since: What the age of the last frame counted from: "capture", "arrival" at this machine, or where
            "reading" the file began.
        worst_frame_age_ms: The longest of these; None without frames.
        deadline_ms: The longest frame age that is in time; None without a deadline.
        deadline_misses: Frames that were older.
        stage_ms: Time spent in each stage that ran.
        frames_by_engine: Frames that each engine of a ladder segmented; empty without a ladder.
        miou: In percent, over the frames that have labels; None without labels.
        per_class_iou: In percent; None without labels.
        frames_not_finite: Frames whose scores held NaN or infinity; not known of networks that give class maps.
    """

    frames: int
    captured: int
    dropped: int
    dropped_by_cause: dict[str, int]
    corrupt: int
    seconds: float
    frames_per_second: float | None
    engine_frames_per_second: float | None
    frame_age_ms: Percentiles | None
    frame_age_since: str
    worst_frame_age_ms: float | None
    deadline_ms: float | None
    deadline_misses: int
    stage_ms: dict[str, Percentiles]
    frames_by_engine: dict[str, int]
    miou: float | None
    per_class_iou: dict[str, float | None] | None
    frames_not_finite: int


class LoopStatistics:
    """The live figures of one run. Each stage is written by one thread; any thread may read.

    Args:
        engine: The bare engine's speed.
        accuracy: Accuracy against labels, where the source has them.
        events: What happened; a log of its own if none is given.
        losses: The source's.
    """

    def __init__(
        self,
        engine: EngineSpeed,
        accuracy: RunningAccuracy | None = None,
        events: EventLog | None = None,
        losses: SourceLosses | None = None,
    ) -> None:
        self.engine = engine
        self.accuracy = accuracy
        self.events = events or EventLog()
        self.losses = losses or SourceLosses()
        self.scores = ScoreWatch(self.events)
        self.deadline_seconds: float | None = None
        """The longest frame age that is in time; None without a deadline."""
        self.deadline_misses = 0
        self.stages = {stage: LatencyRecord() for stage in STAGES}
        self.busy_since: dict[str, float | None] = dict.fromkeys(STAGES)
        """When each stage began what it is doing now; None while it waits for work."""
        self.frame_age = LatencyRecord()
        self.age_since = "arrival"
        """What the age of the last frame counts from; see `LoopSummary`."""
        self.rate = FrameRate()
        self.read = 0
        """Frames that the loop took from the source."""
        self.waits = 0
        """Times that a source said that it still waits for its camera."""
        self.dropped_in_loop: dict[str, int] = {}
        self.frames_by_engine: dict[str, int] = {}
        self.serving: str | None = None
        """The engine of the ladder that serves; None without a ladder."""
        self._started = perf_counter()
        self._ended: float | None = None

    @property
    def captured(self) -> int:
        """Frames that the camera or file gave."""
        return self.read + self.losses.dropped + self.losses.corrupt

    @property
    def dropped_by_cause(self) -> dict[str, int]:
        """Frames that were not segmented, by cause; see `LoopSummary`."""
        return {"capture": self.losses.dropped, **self.dropped_in_loop}

    @property
    def dropped(self) -> int:
        """Frames that were not segmented."""
        return sum(self.dropped_by_cause.values())

    @property
    def corrupt(self) -> int:
        """Frames that came damaged, or that are missing by the stream's own timestamps."""
        return self.losses.corrupt

    @property
    def seconds(self) -> float:
        """Time since the run started, or its whole length after `end`."""
        return (self._ended or perf_counter()) - self._started

    @contextmanager
    def busy(self, stage: str) -> Iterator[float]:
        """Marks a stage as working, for the watchdog; gives the moment at which it began."""
        started = perf_counter()
        self.busy_since[stage] = started
        try:
            yield started
        finally:
            self.busy_since[stage] = None

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Adds the time that the block takes to a stage."""
        with self.busy(stage) as started:
            yield
            self.stages[stage].add(perf_counter() - started)

    def add_class_map(self, captured_at: float, ready_at: float) -> bool:
        """Counts a frame whose class map is ready; both moments in `perf_counter` seconds. True: it is late."""
        age = ready_at - captured_at
        self.frame_age.add(age)
        self.rate.add(ready_at)
        late = self.deadline_seconds is not None and age > self.deadline_seconds
        self.deadline_misses += late
        return late

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
        worst, deadline = self.frame_age.worst, self.deadline_seconds
        return LoopSummary(
            frames=self.rate.count,
            captured=self.captured,
            dropped=self.dropped,
            dropped_by_cause=self.dropped_by_cause,
            corrupt=self.corrupt,
            seconds=self.seconds,
            frames_per_second=self.rate.frames_per_second,
            engine_frames_per_second=self.engine.frames_per_second,
            frame_age_ms=self.frame_age.percentiles(),
            frame_age_since=self.age_since,
            worst_frame_age_ms=None if worst is None else worst * 1e3,
            deadline_ms=None if deadline is None else deadline * 1e3,
            deadline_misses=self.deadline_misses,
            stage_ms={name: figures for name, figures in stages.items() if figures},
            frames_by_engine=dict(self.frames_by_engine),
            miou=score.miou if score else None,
            per_class_iou=score.per_class_iou if score else None,
            frames_not_finite=self.scores.frames_not_finite,
        )
