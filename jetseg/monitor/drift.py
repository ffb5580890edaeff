"""Notices without labels that the camera or the scene is no longer what the network was calibrated for."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy.typing as npt

from jetseg.evaluation.profile import Mahalanobis, joint_vectors
from jetseg.evaluation.signals import SignalMeter, Signals
from jetseg.manifest import Manifest
from jetseg.measured import Profile
from jetseg.monitor.alarm import Alarm, Bound, Notice, Window
from jetseg.postprocess import ClassMap
from jetseg.preprocess import FrameU8

_WINDOW_S, _RAISE_AFTER_S, _END_AFTER_S = 0.8, 1.1, 2.0
"""An alarm comes 1.5 seconds after a sudden change. What lasts a second, as under a bridge, raises none."""
_LEAST_FRAMES = 5
_STILL = 1e-3
"""Gray levels. Even a camera that looks at a wall has more noise than this."""


@dataclass(frozen=True)
class DriftKind:
    """One way to be off.

    Attributes:
        signal: Name of the signal, as in the profile.
        event: DriftKind of the event.
        above: Whether too much of it is wrong, or too little.
        least_margin: How far beyond the outermost normal values the bound lies at least, on the signal's scale.
        text: What is wrong, for people.
        logarithmic: Whether ratios of the signal count, and not differences.
    """

    signal: str
    event: str
    above: bool
    least_margin: float
    text: str
    logarithmic: bool = False


KINDS = (
    DriftKind("brightness", "too-dark", False, 0.35, "The picture is too dark", logarithmic=True),
    DriftKind("clipped", "overexposed", True, 0.1, "Too much of the picture is plain white"),
    DriftKind("sharpness", "blurred", False, 0.15, "The picture is blurred"),
    DriftKind("colors", "color-shifted", True, 1.0, "The colors are unlike those of the calibration frames"),
    # in ratios, because calibration frames themselves have outliers here that a difference would not cover
    DriftKind(
        "scene",
        "scene-unlike-calibration",
        True,
        0.35,
        "The picture is unlike the calibration frames",
        logarithmic=True,
    ),
    DriftKind("classes", "classes-unlike-calibration", True, 1.0, "The classes are shared out unlike at calibration"),
    DriftKind("doubt", "low-confidence", True, 0.35, "The network doubts its answers", logarithmic=True),
    DriftKind("entropy", "high-entropy", True, 0.35, "The network wavers between classes", logarithmic=True),
    DriftKind("flicker", "flicker", True, 0.1, "Classes change where the picture does not"),
)
FROZEN = DriftKind("motion", "frozen-picture", False, 0.0, "The camera repeats one and the same frame")


@dataclass(frozen=True)
class SignalState:
    """Where a signal stands.

    Attributes:
        signal: Its name.
        value: Median of the last 0.8 seconds, for motion the largest; None while there are too few frames.
        bound: Beyond it is wrong.
        normal: Median at calibration; None where there is none.
        active: Whether its alarm is on.
        alarms: How often it was raised.
    """

    signal: str
    value: float | None
    bound: float
    normal: float | None
    active: bool
    alarms: int


class DriftMonitor:
    """Compares frames and answers with the profile that was measured when the engine was built.

    A value counts as the median of the last 0.8 seconds; an alarm needs it beyond the bound for 1.1 seconds, and
    ends when it has been half of the margin within the bound for 2 seconds.

    Args:
        profile: From the manifest.
        manifest: The network's.
    """

    def __init__(self, profile: Profile, manifest: Manifest) -> None:
        self._profile = profile
        self._manifest = manifest
        self._distances = {name: Mahalanobis(normal) for name, normal in profile.joint.items()}
        self._meter = SignalMeter(manifest.num_classes)
        known = [kind for kind in KINDS if kind.signal in profile.quantiles]
        bounds = [(kind, learn_bound(profile.quantiles[kind.signal], kind)) for kind in known]
        bounds.append((FROZEN, Bound(_STILL, _STILL, above=False)))
        self._watches = {kind.event: _Watch(kind, bound) for kind, bound in bounds}

    def add(
        self,
        moment_s: float,
        frame_hwc_u8: FrameU8,
        class_map_hw_u8: ClassMap,
        scores: npt.NDArray[Any] | None = None,
    ) -> list[Notice]:
        """Takes one frame and its answer.

        Args:
            moment_s: Time of the frame in seconds; differences count.
            frame_hwc_u8: BGR, any size.
            class_map_hw_u8: The network's answer.
            scores: From `jetseg.evaluation.profile.scores_of`; None where there are no logits.

        Returns:
            What began or ended with this frame; mostly nothing.
        """
        return self.judge(moment_s, self._meter.measure(frame_hwc_u8, class_map_hw_u8, scores))

    def judge(self, moment_s: float, signals: Signals) -> list[Notice]:
        """Takes the signals of one frame; see `add`."""
        vectors = joint_vectors(signals)
        notices = []
        for watch in self._watches.values():
            name = watch.kind.signal
            value = self._distances[name](vectors[name]) if name in vectors else getattr(signals, name)
            change = watch.update(value, moment_s)
            if change is not None:
                notices.append(self._notice(watch, moment_s, signals, ended=change == "ended"))
        return notices

    def state(self) -> dict[str, SignalState]:
        """Returns where every signal stands, by kind of event."""
        return {event: self._state(watch) for event, watch in self._watches.items()}

    @property
    def active(self) -> list[str]:
        """Kinds of the alarms that are on."""
        return [event for event, watch in self._watches.items() if watch.alarm.active]

    def _state(self, watch: _Watch) -> SignalState:
        name, alarm = watch.kind.signal, watch.alarm
        quantiles = self._profile.quantiles.get(name)
        normal = quantiles[1] if quantiles else None
        return SignalState(name, watch.value, alarm.bound.limit, normal, alarm.active, alarm.count)

    def _notice(self, watch: _Watch, moment_s: float, signals: Signals, *, ended: bool) -> Notice:
        kind, state = watch.kind, self._state(watch)
        values: dict[str, float | int | str | None] = {
            "signal": kind.signal,
            "value": None if state.value is None else round(state.value, 4),
            "bound": round(state.bound, 4),
            "normal": state.normal,
            "moment_s": round(moment_s, 2),
        }
        if ended:
            return Notice(f"{kind.event}-ended", "info", f"Over: {_sentence(kind, state)}", values)
        text = _sentence(kind, state)
        if kind.signal == "classes":
            text += f" {self._oddest_class(signals)}"
        return Notice(kind.event, "alarm", text, values)

    def _oddest_class(self, signals: Signals) -> str:
        """Names the class whose share is furthest from what it was."""
        known = self._profile.class_percent

        def oddity(found: tuple[str, float]) -> float:
            mean, deviation = known[found[0]]
            return abs(found[1] - mean) / (deviation + 1)

        name, percent = max(zip(self._manifest.classes, 100 * signals.class_shares, strict=False), key=oddity)
        return f"{name} fills {percent:.0f} % of it, at calibration {known[name][0]:.0f} %."


def learn_bound(quantiles: tuple[float, float, float], kind: DriftKind) -> Bound:
    """Puts a bound as far beyond the outermost normal values as those are from the middle.

    Args:
        quantiles: 1 %, 50 % and 99 % at calibration.
        kind: Which side is wrong, on which scale, and the least margin.

    >>> kind = DriftKind("sharpness", "blurred", above=False, least_margin=0.1, text="")
    >>> learn_bound((2.0, 5.0, 9.0), kind)
    Bound(limit=-1.0, recovery=0.5, above=False)
    """
    to_scale: Callable[[float], float] = _logarithm if kind.logarithmic else float
    from_scale: Callable[[float], float] = math.exp if kind.logarithmic else float
    low, middle, high = (to_scale(value) for value in quantiles)
    outermost = high if kind.above else low
    margin = max(abs(outermost - middle), kind.least_margin)
    sign = 1 if kind.above else -1
    limit, recovery = (from_scale(outermost + sign * share * margin) for share in (1.0, 0.5))
    return Bound(limit, recovery, kind.above)


class _Watch:
    """One signal over time."""

    def __init__(self, kind: DriftKind, bound: Bound) -> None:
        self.kind = kind
        self.alarm = Alarm(bound, raise_after_s=_RAISE_AFTER_S, end_after_s=_END_AFTER_S)
        self.value: float | None = None
        # a frozen picture is one that never moves, not one that mostly does not
        self._window = Window(_WINDOW_S, _LEAST_FRAMES, max if kind is FROZEN else median)

    def update(self, value: float | None, moment_s: float) -> str | None:
        if value is not None:
            self._window.add(value, moment_s)
            self.value = self._window.value()
        return self.alarm.update(self.value, moment_s)


def _logarithm(value: float) -> float:
    return math.log(max(value, 1e-6))


def _sentence(kind: DriftKind, state: SignalState) -> str:
    side = "above" if kind.above else "below"
    normal = "" if state.normal is None else f", normally {state.normal:.3g}"
    value = "unknown" if state.value is None else f"{state.value:.3g}"
    return f"{kind.text}: {kind.signal} {value}, bound {side} {state.bound:.3g}{normal}."
