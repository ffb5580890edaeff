"""Shows every finished frame to the monitors, and puts what they notice into the run's events."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from functools import partial
from typing import Any

from jetseg.camera.contract import FrameResult, Sink, Source
from jetseg.camera.sinks.collect import RatedResult
from jetseg.engine.backend import Runner
from jetseg.engine.engine import Engine
from jetseg.errors import QualityError
from jetseg.evaluation.accuracy import check_classes
from jetseg.evaluation.evidence import frame_evidence
from jetseg.evaluation.signals import SignalMeter
from jetseg.manifest import Manifest
from jetseg.monitor.accuracy import AccuracyAlarm
from jetseg.monitor.alarm import Notice
from jetseg.monitor.drift import DriftMonitor
from jetseg.monitor.events import EventLog
from jetseg.monitor.live_estimate import LiveEstimate
from jetseg.monitor.score_tap import ScoreTap
from jetseg.monitor.shadow import ShadowMonitor
from jetseg.monitor.worth import WorthMeter
from jetseg.postprocess import ClassMap
from jetseg.preprocess import FrameU8

_NOMINAL_FRAMES_PER_SECOND = 25.0
"""Of files that do not tell their own rate."""


class MonitorSink:
    """A sink for the drift monitor, the estimate, the shadow and the alarm on accuracy, each where there is one.

    Args:
        manifest: The engine's manifest.
        source: The source; it tells how time passes.
        drift: Compares with the calibration profile.
        tap: Where the scores of the engine are; they give confidence.
        estimate: Estimates accuracy without labels.
        shadow: Compares with a reference.
        collection: Gets every frame with what a label of it would be worth; see `jetseg.camera.sinks.collect`.
    """

    wants_overlay = False

    def __init__(
        self,
        manifest: Manifest,
        source: Source,
        *,
        drift: DriftMonitor | None = None,
        tap: ScoreTap | None = None,
        estimate: LiveEstimate | None = None,
        shadow: ShadowMonitor | None = None,
        collection: Sink | None = None,
    ) -> None:
        self.drift, self.estimate, self.shadow = drift, estimate, shadow
        self._collection = collection
        self._meter, self._worth = SignalMeter(manifest.num_classes), WorthMeter(manifest)
        self._manifest = manifest
        self._source = source
        self._tap = tap
        self._accuracy: AccuracyAlarm | None = None
        self._events: EventLog | None = None

    def write(self, result: FrameResult) -> None:
        """Shows one frame to every monitor."""
        statistics, image, ids = result.statistics, result.frame.image_hwc_u8, result.class_map_hw_u8
        self._events = statistics.events
        if self.drift is not None or self.estimate is not None or self._collection is not None:
            self._look(result)
        if self.shadow is not None:
            self._report(self.shadow.offer(image, ids))
        if statistics.accuracy is not None and result.frame.label_hw_u8 is not None:
            if self._accuracy is None:
                self._accuracy = AccuracyAlarm(self._manifest, statistics.accuracy)
            self._report(self._accuracy.check())

    def _look(self, result: FrameResult) -> None:
        """Measures a frame once for all who go by its signals, and only what somebody goes by."""
        image, ids = result.frame.image_hwc_u8, result.class_map_hw_u8
        scores = self._tap.take() if self._tap is not None else None
        goes_by_signals = self.drift is not None or self._collection is not None
        signals = self._meter.measure(image, ids, scores) if goes_by_signals else None
        if self.drift is not None and signals is not None:
            self._report(self.drift.judge(self._moment(result), signals))
        if self.estimate is None and self._collection is None:
            return
        evidence = frame_evidence(ids, scores, self._manifest.num_classes, self._manifest.temperature)
        if self.estimate is not None:
            self._report(self.estimate.add(evidence))
        if self._collection is not None and signals is not None:
            worth = self._worth.measure(signals, evidence)
            self._collection.write(RatedResult(**vars(result), worth=worth))

    def close(self) -> None:
        """Ends the shadow."""
        if self.shadow is not None:
            self._report(self.shadow.close())

    def summary(self) -> dict[str, Any]:
        """Returns where drift, estimate and shadow stand, for the summary of the run; None for what is off."""
        drift = self.drift and {
            "active": self.drift.active,
            "signals": {event: asdict(state) for event, state in self.drift.state().items()},
        }
        return {
            "drift": drift,
            "estimate": self.estimate and self.estimate.state().as_dict(),
            "shadow": self.shadow and asdict(self.shadow.state()),
        }

    def windows(self) -> list[dict[str, Any]]:
        """Returns the estimates of the newest windows, at most a thousand."""
        return [] if self.estimate is None else [asdict(window) for window in self.estimate.windows.copy()]

    def _moment(self, result: FrameResult) -> float:
        """Returns the time of a frame: of a camera as it was captured, of a file as it would be shown."""
        if self._source.live:
            return result.frame.captured_at
        if result.frame.shown_at is not None:
            return result.frame.shown_at
        return result.frame.sequence / (self._source.frames_per_second or _NOMINAL_FRAMES_PER_SECOND)

    def _report(self, notices: Sequence[Notice]) -> None:
        if self._events is None:
            return
        for notice in notices:
            self._events.add(notice.kind, notice.severity, notice.text, **notice.values)


def open_monitor(
    runner: Runner,
    source: Source,
    *,
    drift: bool = True,
    estimate: bool = True,
    least_miou: float | None = None,
    reference: Engine | None = None,
    every: int = 30,
    bound: float | None = None,
    collection: Sink | None = None,
) -> closing[MonitorSink]:
    """Opens the monitors that the engine's manifest and the options allow, and ends them afterwards.

    Args:
        runner: The engine; a `ScoreTap` lets the drift monitor see its confidence.
        source: The source of the run.
        drift: Compare with the calibration profile, where the manifest has one.
        estimate: Estimate accuracy without labels, where the manifest has an estimator.
        least_miou: In percent, for the alarm on the estimate; learned by default.
        reference: A network that every so many frames are compared with; the caller closes it afterwards.
        every: Of so many frames one is compared.
        bound: Agreement mIoU in percent below which the shadow raises an alarm; learned by default.
        collection: Gets every frame with what a label of it would be worth; the caller closes it afterwards.

    Raises:
        DataError: The reference has other classes than the engine.
    """
    manifest = runner.manifest
    shadow = None
    if reference is not None:
        check_classes(manifest.classes, reference.manifest.classes, "the reference")
        shadow = ShadowMonitor(partial(_segment_finite, reference), manifest, every=every, bound=bound)
    profile = manifest.profile if drift else None
    watch = None if profile is None else DriftMonitor(profile, manifest)
    tap = runner if isinstance(runner, ScoreTap) else None
    estimator = manifest.estimator if estimate else None
    live = None if estimator is None else LiveEstimate(estimator, manifest, least_miou)
    return closing(
        MonitorSink(manifest, source, drift=watch, tap=tap, estimate=live, shadow=shadow, collection=collection)
    )


def _segment_finite(reference: Engine, frame_hwc_u8: FrameU8) -> ClassMap:
    """Segments a frame with a network that others are measured by."""
    before = reference.frames_not_finite
    ids = reference.segment(frame_hwc_u8)
    if reference.frames_not_finite > before:
        raise QualityError("Its scores are not finite numbers, so nothing can be compared with them.")
    return ids
