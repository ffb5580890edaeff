"""Several engines for one loop, from best to lightest: which one serves follows heat and missed deadlines."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jetseg.camera.config import LadderConfig
from jetseg.engine.backend import Runner
from jetseg.errors import ConfigError
from jetseg.monitor.engine_speed import EngineSpeed
from jetseg.monitor.events import EventLog


@dataclass(frozen=True)
class LadderEngine:
    """One engine of a ladder, open and warm.

    Attributes:
        name: For people, as in "student.int8.onnx".
        runner: The network.
        speed: Of the engine alone; measuring it is what warms it.
    """

    name: str
    runner: Runner
    speed: EngineSpeed


_LEAST_FRAMES = 2
_LATE_SHARE = 0.5
_CALM_SHARE = 0.1


class Ladder:
    """The engines of a run and which of them serves.

    A frame keeps the engine that it was prepared for, so a change loses and reorders none.

    Args:
        engines: From best to lightest; their classes are the same.
        events: Gets `ladder-down` and `ladder-up`.
        settings: When to change.
        is_hot: Asked now and then; True asks for a lighter engine. It must return at once.

    Raises:
        ConfigError: The engines have different classes, or two have one name.
    """

    def __init__(
        self,
        engines: Sequence[LadderEngine],
        events: EventLog | None = None,
        settings: LadderConfig | None = None,
        is_hot: Callable[[], bool] = lambda: False,
    ) -> None:
        self.engines = tuple(engines)
        self._events = events or EventLog()
        self._settings = settings or LadderConfig()
        self._is_hot = is_hot
        self._level = 0
        self._recent: deque[tuple[float, bool]] = deque()
        self._changed_at: float | None = None
        self._calm_since: float | None = None
        self._rose_at: float | None = None
        self._patience = self._settings.calm_seconds
        first = self.engines[0]
        if len({engine.name for engine in self.engines}) < len(self.engines):
            raise ConfigError("The ladder names an engine twice.", "Name each engine once, from best to lightest.")
        for other in self.engines[1:]:
            if other.runner.manifest.classes != first.runner.manifest.classes:
                raise ConfigError(
                    f"The classes of {other.name} are not those of {first.name}.",
                    "A ladder takes engines of the same classes.",
                )

    @property
    def serving(self) -> LadderEngine:
        """The engine for the next frame."""
        return self.engines[self._level]

    def observe(self, engine: LadderEngine, at: float, *, late: bool, deadline_seconds: float | None) -> None:
        """Takes note of a finished frame, and changes the engine if it is time to.

        Args:
            engine: The engine that segmented it; frames of an engine that no longer serves tell nothing.
            at: When its class map was ready, in `perf_counter` seconds.
            late: It missed the deadline.
            deadline_seconds: The longest frame age that is in time; None without a deadline.
        """
        if len(self.engines) == 1 or engine is not self.serving:
            return
        if self._changed_at is None or self._calm_since is None:
            self._changed_at = self._calm_since = at
        self._recent.append((at, late))
        while self._recent[0][0] < at - self._settings.window_seconds:
            self._recent.popleft()
        share = sum(missed for _, missed in self._recent) / len(self._recent)
        since, hot = at - self._changed_at, self._is_hot()
        if hot or share > _CALM_SHARE:
            self._calm_since = at
        if self._level + 1 < len(self.engines):
            sustained = since >= self._settings.window_seconds and len(self._recent) >= _LEAST_FRAMES
            if sustained and share >= _LATE_SHARE:
                self._step(1, at, "missed deadlines", share)
                return
            if hot and (since >= self._settings.cooling_seconds or self._level == 0):
                self._step(1, at, "heat", share)
                return
        if self._level and at - self._calm_since >= self._patience and self._may_rise(deadline_seconds):
            self._step(-1, at, "calm", share)

    def _may_rise(self, deadline_seconds: float | None) -> bool:
        """The better engine must be able to keep the deadline at least when it is alone."""
        rate = self.engines[self._level - 1].speed.frames_per_second
        return deadline_seconds is None or rate is None or 1 / rate < deadline_seconds

    def _step(self, by: int, at: float, reason: str, share: float) -> None:
        before = self.serving
        settings = self._settings
        if by > 0 and self._rose_at is not None:
            lasted = at - self._rose_at >= self._patience
            longer = min(2 * self._patience, settings.longest_calm_seconds)
            self._patience = settings.calm_seconds if lasted else longer
        self._rose_at = at if by < 0 else None
        self._level += by
        self._changed_at = self._calm_since = at
        self._recent.clear()
        text = f"{self.serving.name} serves instead of {before.name}, because of {reason}."
        self._events.add(
            "ladder-down" if by > 0 else "ladder-up",
            "warning" if by > 0 else "info",
            text,
            engine=self.serving.name,
            before=before.name,
            reason=reason,
            late_share=round(share, 3),
        )
