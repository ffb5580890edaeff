"""Several engines for one loop, from best to lightest: which one serves follows heat and missed deadlines."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jetseg.engine.backend import Runner
from jetseg.errors import ConfigError
from jetseg.monitor.engine_speed import EngineSpeed
from jetseg.monitor.events import EventLog


@dataclass(frozen=True)
class Rung:
    """One engine of a ladder, open and warm.

    Attributes:
        name: For people, as in "student.int8.onnx".
        runner: The network.
        speed: Of the engine alone; measuring it is what warms it.
    """

    name: str
    runner: Runner
    speed: EngineSpeed


@dataclass(frozen=True)
class LadderSettings:
    """When to change the engine.

    Attributes:
        window_seconds: A step down follows when half of the frames of this time were late.
        calm_seconds: A step up follows after this time with hardly a late frame. It doubles with each step up
            that did not last, until one does.
        longest_calm_seconds: The most that it becomes.
        cooling_seconds: Time that a step down is given to lower the heat, before the next one.
    """

    window_seconds: float = 1.0
    calm_seconds: float = 10.0
    longest_calm_seconds: float = 160.0
    cooling_seconds: float = 20.0


_LEAST_FRAMES = 2
_LATE_SHARE = 0.5
_CALM_SHARE = 0.1


class Ladder:
    """The engines of a run and which of them serves.

    A frame keeps the engine that it was prepared for, so a change loses and reorders none.

    Args:
        rungs: From best to lightest; their classes are the same.
        events: Gets `ladder-down` and `ladder-up`.
        settings: When to change.
        is_hot: Asked now and then; True asks for a lighter engine. It must return at once.

    Raises:
        ConfigError: The engines have different classes, or two have one name.
    """

    def __init__(
        self,
        rungs: Sequence[Rung],
        events: EventLog | None = None,
        settings: LadderSettings | None = None,
        is_hot: Callable[[], bool] = lambda: False,
    ) -> None:
        self.rungs = tuple(rungs)
        self._events = events or EventLog()
        self._settings = settings or LadderSettings()
        self._is_hot = is_hot
        self._level = 0
        self._recent: deque[tuple[float, bool]] = deque()
        self._changed_at: float | None = None
        self._calm_since: float | None = None
        self._rose_at: float | None = None
        self._patience = self._settings.calm_seconds
        first = self.rungs[0]
        if len({rung.name for rung in self.rungs}) < len(self.rungs):
            raise ConfigError("The ladder names an engine twice.", "Name each engine once, from best to lightest.")
        for other in self.rungs[1:]:
            if other.runner.manifest.classes != first.runner.manifest.classes:
                raise ConfigError(
                    f"The classes of {other.name} are not those of {first.name}.",
                    "A ladder takes engines of the same classes.",
                )

    @property
    def serving(self) -> Rung:
        """The engine for the next frame."""
        return self.rungs[self._level]

    def observe(self, rung: Rung, at: float, *, late: bool, deadline_seconds: float | None) -> None:
        """Takes note of a finished frame, and changes the engine if it is time to.

        Args:
            rung: The engine that segmented it; frames of an engine that no longer serves tell nothing.
            at: When its class map was ready, in `perf_counter` seconds.
            late: It missed the deadline.
            deadline_seconds: The longest frame age that is in time; None without a deadline.
        """
        if len(self.rungs) == 1 or rung is not self.serving:
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
        if self._level + 1 < len(self.rungs):
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
        rate = self.rungs[self._level - 1].speed.frames_per_second
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
