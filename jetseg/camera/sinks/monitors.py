"""Shows every finished frame to the monitors, and puts what they notice into the run's events."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from functools import partial
from typing import Any

from jetseg.camera.contract import FrameResult, Source
from jetseg.engine.backend import Runner
from jetseg.engine.engine import Engine
from jetseg.errors import QualityError
from jetseg.evaluation.accuracy import check_classes
from jetseg.manifest import Manifest
from jetseg.monitor.accuracy import AccuracyAlarm
from jetseg.monitor.alarm import Notice
from jetseg.monitor.drift import DriftMonitor
from jetseg.monitor.events import EventLog
from jetseg.monitor.score_tap import ScoreTap
from jetseg.monitor.shadow import ShadowMonitor
from jetseg.postprocess import ClassMap
from jetseg.preprocess import FrameU8

_NOMINAL_FRAMES_PER_SECOND = 25.0
"""Of files that do not tell their own rate."""


class MonitorSink:
    """A sink for the drift monitor, the shadow and the alarm on accuracy, each where there is one.

    Args:
        manifest: The engine's manifest.
        source: The source; it tells how time passes.
        drift: Compares with the calibration profile.
        tap: Where the scores of the engine are; they give confidence.
        shadow: Compares with a reference.
    """

    wants_overlay = False

    def __init__(
        self,
        manifest: Manifest,
        source: Source,
        *,
        drift: DriftMonitor | None = None,
        tap: ScoreTap | None = None,
        shadow: ShadowMonitor | None = None,
    ) -> None:
        self.drift, self.shadow = drift, shadow
        self._manifest = manifest
        self._source = source
        self._tap = tap
        self._accuracy: AccuracyAlarm | None = None
        self._events: EventLog | None = None

    def write(self, result: FrameResult) -> None:
        """Shows one frame to every monitor."""
        statistics, image, ids = result.statistics, result.frame.image_hwc_u8, result.class_map_hw_u8
        self._events = statistics.events
        if self.drift is not None:
            scores = self._tap.take() if self._tap is not None else None
            self._report(self.drift.add(self._moment(result), image, ids, scores))
        if self.shadow is not None:
            self._report(self.shadow.offer(image, ids))
        if statistics.accuracy is not None and result.frame.label_hw_u8 is not None:
            if self._accuracy is None:
                self._accuracy = AccuracyAlarm(self._manifest, statistics.accuracy)
            self._report(self._accuracy.check())

    def close(self) -> None:
        """Ends the shadow."""
        if self.shadow is not None:
            self._report(self.shadow.close())

    def summary(self) -> dict[str, Any]:
        """Returns where drift and shadow stand, for the summary of the run; None for what is off."""
        drift = self.drift and {
            "active": self.drift.active,
            "signals": {event: asdict(state) for event, state in self.drift.state().items()},
        }
        return {"drift": drift, "shadow": self.shadow and asdict(self.shadow.state())}

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
    reference: Engine | None = None,
    every: int = 30,
    bound: float | None = None,
) -> closing[MonitorSink]:
    """Opens the monitors that the engine's manifest and the options allow, and ends them afterwards.

    Args:
        runner: The engine; a `ScoreTap` lets the drift monitor see its confidence.
        source: The source of the run.
        drift: Compare with the calibration profile, where the manifest has one.
        reference: A network that every so many frames are compared with; the caller closes it afterwards.
        every: Of so many frames one is compared.
        bound: Agreement mIoU in percent below which the shadow raises an alarm; learned by default.

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
    return closing(MonitorSink(manifest, source, drift=watch, tap=tap, shadow=shadow))


def _segment_finite(reference: Engine, frame_hwc_u8: FrameU8) -> ClassMap:
    """Segments a frame with a network that others are measured by."""
    before = reference.frames_not_finite
    ids = reference.segment(frame_hwc_u8)
    if reference.frames_not_finite > before:
        raise QualityError("Its scores are not finite numbers, so nothing can be compared with them.")
    return ids
