"""Says, window by window and without labels, how right the class maps probably are."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np

from jetseg.evaluation.estimator import Estimate, EstimatingModel, Interval
from jetseg.evaluation.evidence import Evidence, joined
from jetseg.manifest import Manifest
from jetseg.measured import Estimator
from jetseg.monitor.accuracy import FAR_BELOW
from jetseg.monitor.alarm import Alarm, Bound, Notice
from jetseg.monitor.shadow import default_bound

_RECOVERED = 1.02
"""Of the bound."""
_WINDOWS = 2
"""So many in a row must be beyond the bound, or back."""
_MOST_LEFT_OUT = 5
KEPT_WINDOWS = 1000


@dataclass(frozen=True)
class WindowEstimate:
    """The estimate of one window.

    Attributes:
        window: Counts the windows of a run, from 1.
        last_frame: Number of its last frame in the run, among those that the estimate saw.
        miou: Estimated mIoU, in percent.
        low: What it is above in nineteen of twenty windows.
        high: What it is below, likewise.
        per_class_iou: By class: value, low and high, in percent; None where the class was not there.
        distance: From what the estimator knows, in standard deviations; the farther, the wider the interval.
    """

    window: int
    last_frame: int
    miou: float
    low: float
    high: float
    per_class_iou: dict[str, dict[str, float] | None]
    distance: float


@dataclass(frozen=True)
class EstimateState:
    """Where the estimate stands: the newest window, and the alarm.

    Attributes:
        newest: The newest window; None before the first is full.
        target: "labels", or "agreement" where the estimator was learned against the parent network.
        bound: mIoU in percent below which even the upper end raises an alarm; None where none is known.
        active: Whether the alarm is on.
        alarms: How often it was raised.
    """

    newest: WindowEstimate | None
    target: str
    bound: float | None
    active: bool
    alarms: int

    def as_dict(self) -> dict[str, Any]:
        """Returns plain values; those of the newest window stand beside the others."""
        newest = None if self.newest is None else vars(self.newest)
        own = {name: value for name, value in vars(self).items() if name != "newest"}
        return {**own, **(newest or dict.fromkeys(WindowEstimate.__annotations__))}


class LiveEstimate:
    """Collects what frames tell, and estimates when a window is full. One thread adds, any thread may read.

    Args:
        estimator: From the engine's manifest.
        manifest: The engine's.
        bound: mIoU in percent; an alarm is raised when the upper end of the interval is below it in two windows in a
            row. By default three quarters of the mIoU at build, as for labelled sources.

    Raises:
        ManifestError: The estimator is not for this network.
    """

    def __init__(self, estimator: Estimator, manifest: Manifest, bound: float | None = None) -> None:
        self.windows: deque[WindowEstimate] = deque(maxlen=KEPT_WINDOWS)
        self._estimator = estimator
        self._model = EstimatingModel(estimator, manifest.classes)
        self._bound = _default_bound(estimator, manifest) if bound is None else bound
        limit = self._bound or 0.0
        self._alarm = Alarm(
            Bound(limit, _RECOVERED * limit, above=False), raise_after_s=_WINDOWS - 1, end_after_s=_WINDOWS - 1
        )
        self._parts: list[Evidence] = []
        self._frames = self._left_out = 0
        self._count = 0

    def add(self, evidence: Evidence) -> list[Notice]:
        """Takes what one frame tells.

        A frame without the scores that the estimator goes by, or with scores that are no numbers, is left out; five of
        them in a row, as where another engine serves, begin the window anew.
        """
        self._frames += 1
        if self._model.needs_scores and (evidence.mass is None or not np.isfinite(evidence.mass).all()):
            self._left_out += 1
            if self._left_out == _MOST_LEFT_OUT:
                self._parts.clear()
            return []
        self._left_out = 0
        self._parts.append(evidence if self._model.needs_scores else evidence.without_scores())
        if len(self._parts) < self._estimator.window:
            return []
        estimate = self._model.estimate(joined(self._parts))
        self._parts.clear()
        self._count += 1
        self.windows.append(_window(self._count, self._frames, estimate))
        return self._judge(estimate.miou)

    def state(self) -> EstimateState:
        """Returns where the estimate stands."""
        newest = self.windows[-1] if self.windows else None
        return EstimateState(newest, self._estimator.target, self._bound, self._alarm.active, self._alarm.count)

    def _judge(self, miou: Interval) -> list[Notice]:
        change = None if self._bound is None else self._alarm.update(miou.high, float(self._count))
        if change is None:
            return []
        values: dict[str, float | int | str | None] = {
            "miou": round(miou.value, 1),
            "low": round(miou.low, 1),
            "high": round(miou.high, 1),
            "bound": round(self._alarm.bound.limit, 1),
        }
        found = f"mIoU {miou.value:.0f} % ({miou.low:.0f} to {miou.high:.0f}), bound {self._alarm.bound.limit:.0f} %"
        if change == "ended":
            return [Notice("estimate-low-ended", "info", f"The estimated accuracy is back: {found}.", values)]
        text = f"The class maps are probably wrong more often than is allowed, estimated without labels: {found}."
        return [Notice("estimate-low", "alarm", text, values)]


def _default_bound(estimator: Estimator, manifest: Manifest) -> float | None:
    if estimator.target == "agreement":
        return default_bound(manifest)
    measured = [record.miou for record in manifest.accuracy if record.miou is not None]
    return FAR_BELOW * measured[-1] if measured else None


def _window(number: int, last_frame: int, estimate: Estimate) -> WindowEstimate:
    per_class = {
        name: None if found is None else {key: round(value, 2) for key, value in vars(found).items()}
        for name, found in estimate.per_class_iou.items()
    }
    miou = estimate.miou
    return WindowEstimate(
        number,
        last_frame,
        round(miou.value, 2),
        round(miou.low, 2),
        round(miou.high, 2),
        per_class,
        round(estimate.distance, 2),
    )
