"""A reference network that looks at every Nth frame in the background and says how far the engine agrees."""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, Full, Queue, SimpleQueue
from time import perf_counter

import numpy as np
import numpy.typing as npt

from jetseg.evaluation.confusion import ConfusionMatrix
from jetseg.manifest import Manifest
from jetseg.monitor.alarm import Alarm, Bound, Notice
from jetseg.postprocess import ClassMap, resize_class_map
from jetseg.preprocess import FrameU8

LEAST_BOUND = 70.0
"""Percent of agreement mIoU: for engines whose agreement was not measured, and for those that were damaged at build."""
_LEAST_MARGIN = 20.0
"""Points. A sound engine agrees less on scenes that it was not calibrated on, and there rare classes weigh most."""
_RECENT = 16
_LEAST_COMPARED = 4
_LOWEST_PRIORITY = 19
RETRY_SECONDS = 30.0
"""How long a reference that failed is left alone."""
STALL_SECONDS = 20.0
"""For one frame, after which the reference counts as stalled: it runs only when nothing else wants to."""
CLOSE_SECONDS = 15.0


@dataclass(frozen=True)
class ShadowState:
    """What the shadow found.

    Attributes:
        compared: Frames that both networks looked at.
        skipped: Frames that were due while the reference was busy.
        agreement_miou: mIoU of the engine against the reference over the run, in percent; None before the first.
        recent_miou: Likewise over the last 16 compared frames; the alarm goes by it.
        per_class_iou: Over the run, in percent.
        bound: Below it an alarm is raised.
        active: Whether the alarm is on.
        alarms: How often it was raised.
    """

    compared: int
    skipped: int
    agreement_miou: float | None
    recent_miou: float | None
    per_class_iou: dict[str, float | None]
    bound: float
    active: bool
    alarms: int


class ShadowMonitor:
    """Compares an engine with a reference on every Nth frame, in a thread of low priority.

    A reference that fails or stalls is noticed once, and so is its return; the run goes on without it.

    Args:
        reference: Frame to class map; called in the thread of the shadow only, so it should use one thread.
        manifest: The engine's manifest.
        every: Of so many frames one is compared; while the reference is busy, frames are skipped.
        bound: Agreement mIoU in percent below which an alarm is raised; see `default_bound`.
    """

    def __init__(
        self, reference: Callable[[FrameU8], ClassMap], manifest: Manifest, *, every: int, bound: float | None = None
    ) -> None:
        self.every = every
        limit = default_bound(manifest) if bound is None else bound
        self._reference = reference
        self._manifest = manifest
        self._alarm = Alarm(Bound(limit, limit + 0.2 * (100 - limit), above=False))
        self._total = self._new_matrix()
        self._recent: deque[npt.NDArray[np.int64]] = deque(maxlen=_RECENT)
        self._recent_miou: float | None = None
        self._offered = 0
        self._skipped = 0
        self._trouble: str | None = None
        self._rests_until = 0.0
        self._comparing_since: float | None = None
        self._work: Queue[tuple[FrameU8, ClassMap] | None] = Queue(maxsize=1)
        self._notices: SimpleQueue[Notice] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="jetseg-shadow", daemon=True)
        self._thread.start()

    def offer(self, frame_hwc_u8: FrameU8, class_map_hw_u8: ClassMap) -> list[Notice]:
        """Takes a frame and the engine's answer, and copies both if the frame is due.

        Returns:
            What the comparisons since the last call gave rise to.
        """
        if self._offered % self.every == 0:
            if self._work.full() or perf_counter() < self._rests_until:
                self._skipped += 1
            else:
                self._try_put((frame_hwc_u8.copy(), class_map_hw_u8.copy()))
        self._offered += 1
        self._notice_stall()
        return self._new_notices()

    def close(self) -> list[Notice]:
        """Ends the thread after the comparison under way; what waits is dropped. Returns the last notices.

        A reference that does not come back within 15 seconds is left behind.
        """
        while not self._try_put(None):
            with suppress(Empty):
                self._work.get_nowait()
        self._thread.join(CLOSE_SECONDS)
        if self._thread.is_alive():
            text = f"The shadow's reference did not come back within {CLOSE_SECONDS:.0f} seconds of the end."
            self._notices.put(Notice("shadow-stuck", "alarm", text))
        return self._new_notices()

    def state(self) -> ShadowState:
        """Returns what was found so far."""
        with self._lock:
            score = self._total.score()
            return ShadowState(
                compared=score.frames,
                skipped=self._skipped,
                agreement_miou=score.miou,
                recent_miou=self._recent_miou,
                per_class_iou=score.per_class_iou,
                bound=self._alarm.bound.limit,
                active=self._alarm.active,
                alarms=self._alarm.count,
            )

    def _run(self) -> None:
        _lower_priority()
        while (work := self._work.get()) is not None:
            self._comparing_since = perf_counter()
            failure = None
            try:
                self._compare(*work)
            except Exception as error:  # a broken reference must not end the run, but must not go unnoticed either
                failure = error
            self._comparing_since = None
            if failure is not None:
                self._rests_until = perf_counter() + RETRY_SECONDS
                self._notice_trouble("shadow-failed", f"The shadow's reference failed: {failure}")
            elif self._trouble is not None:
                self._trouble = None
                self._notices.put(Notice("shadow-resumed", "info", "The shadow compares again."))

    def _notice_stall(self) -> None:
        since = self._comparing_since
        if since is not None and perf_counter() - since > STALL_SECONDS:
            text = f"The shadow's reference has not come back for {STALL_SECONDS:.0f} seconds."
            self._notice_trouble("shadow-stalled", text)

    def _notice_trouble(self, kind: str, text: str) -> None:
        if kind != self._trouble:
            self._trouble = kind
            self._notices.put(Notice(kind, "warning", text))

    def _compare(self, frame_hwc_u8: FrameU8, class_map_hw_u8: ClassMap) -> None:
        wanted = resize_class_map(self._reference(frame_hwc_u8), *class_map_hw_u8.shape)
        matrix = self._new_matrix()
        matrix.update(wanted, class_map_hw_u8)
        with self._lock:
            self._total.counts += matrix.counts
            self._total.frames += 1
            self._recent.append(matrix.counts)
            window = self._new_matrix()
            window.counts = np.sum(self._recent, axis=0)
            score = window.score()
            self._recent_miou = score.miou
            enough = len(self._recent) >= _LEAST_COMPARED
            change = self._alarm.update(score.miou if enough else None, perf_counter())
            if change == "raised":
                self._recent.clear()  # so that a recovery shows as soon as there are enough new frames
        if change is not None:
            self._notices.put(self._notice(score.miou, score.per_class_iou, raised=change == "raised"))

    def _notice(self, miou: float | None, per_class: dict[str, float | None], *, raised: bool) -> Notice:
        limit = self._alarm.bound.limit
        known = {name: iou for name, iou in per_class.items() if iou is not None}
        worst = min(known, key=lambda name: known[name]) if known else None
        values: dict[str, float | int | str | None] = {
            "agreement_miou": None if miou is None else round(miou, 2),
            "bound": round(limit, 2),
            "worst_class": worst,
        }
        if not raised:
            text = f"The engine agrees with its reference again: mIoU {miou:.1f} %."
            return Notice("shadow-disagreement-ended", "info", text, values)
        text = f"The engine disagrees with its reference: mIoU {miou:.1f} %, bound {limit:.1f} %; worst class {worst}."
        return Notice("shadow-disagreement", "alarm", text, values)

    def _new_matrix(self) -> ConfusionMatrix:
        return ConfusionMatrix(self._manifest.classes, self._manifest.num_classes)

    def _new_notices(self) -> list[Notice]:
        notices = []
        while not self._notices.empty():
            notices.append(self._notices.get())
        return notices

    def _try_put(self, work: tuple[FrameU8, ClassMap] | None) -> bool:
        try:
            self._work.put_nowait(work)
        except Full:
            return False
        return True


def default_bound(manifest: Manifest) -> float:
    """Learns the bound from the agreement measured at build: twice its disagreement below, at least 20 points.

    Returns:
        Percent of mIoU; at least 70, also where no agreement was measured.
    """
    agreement = manifest.profile.agreement_miou if manifest.profile else None
    if agreement is None:
        return LEAST_BOUND
    return max(LEAST_BOUND, agreement - max(_LEAST_MARGIN, 100 - agreement))


def _lower_priority() -> None:
    """Makes the calling thread yield to all others; Linux has priorities per thread."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST_PRIORITY)
