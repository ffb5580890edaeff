"""Latency percentiles and frame rates over a run of any length, in fixed memory."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_LEAST_SECONDS = 1e-6
_MOST_SECONDS = 1e4
_GROWTH = 1.01
_LOG_GROWTH = math.log(_GROWTH)
_BINS = math.ceil(math.log(_MOST_SECONDS / _LEAST_SECONDS) / _LOG_GROWTH)
_RECENT = 256


@dataclass(frozen=True)
class Percentiles:
    """Durations in milliseconds that half, 95% and 99% of the cases did not exceed."""

    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, durations_ms: Sequence[float] | npt.NDArray[np.float64]) -> Percentiles:
        """Returns those of durations in milliseconds, of which there is one at least."""
        return cls(*map(float, np.percentile(durations_ms, [50, 95, 99])))


class LatencyRecord:
    """Counts durations in a log-spaced histogram: the whole run, fixed memory.

    Bins are 1% wide from 1 microsecond to 10,000 seconds, so a percentile is within 0.5% of the exact one
    however long the run is. The last 256 durations are also kept as they are, for a line that shows the
    present. One thread adds; any thread may read.

    >>> record = LatencyRecord()
    >>> for duration in (0.010, 0.010, 0.030):
    ...     record.add(duration)
    >>> round(record.percentiles().p50)
    10
    """

    def __init__(self) -> None:
        self.count = 0
        self._bins = [0] * _BINS
        self._least = math.inf
        self._most = 0.0
        self._recent: npt.NDArray[np.float64] = np.zeros(_RECENT)

    def add(self, seconds: float) -> None:
        """Adds one duration in seconds."""
        index = int(math.log(max(seconds, _LEAST_SECONDS) / _LEAST_SECONDS) / _LOG_GROWTH)
        self._bins[min(index, _BINS - 1)] += 1
        self._least = min(self._least, seconds)
        self._most = max(self._most, seconds)
        self._recent[self.count % _RECENT] = seconds
        self.count += 1

    @property
    def latest(self) -> float | None:
        """The last duration in seconds; None before the first one."""
        return float(self._recent[(self.count - 1) % _RECENT]) if self.count else None

    @property
    def worst(self) -> float | None:
        """The longest duration of the whole run in seconds; None before the first one."""
        return self._most if self.count else None

    def percentiles(self) -> Percentiles | None:
        """Returns the percentiles of the whole run; None before the first duration."""
        if not self.count:
            return None
        cumulated = np.cumsum(self._bins)
        ranks = np.ceil(np.array([0.50, 0.95, 0.99]) * cumulated[-1])
        middles = _LEAST_SECONDS * _GROWTH ** (np.searchsorted(cumulated, ranks) + 0.5)
        p50, p95, p99 = (float(value) for value in np.clip(middles, self._least, self._most) * 1e3)
        return Percentiles(p50, p95, p99)

    def recent_percentiles(self) -> Percentiles | None:
        """Returns the percentiles of the last 256 durations; None before the first one."""
        filled = self._recent[: min(self.count, _RECENT)]
        return Percentiles.of(filled * 1e3) if len(filled) else None


class FrameRate:
    """Frames per second from the moments at which frames were ready: (N - 1) / (last - first).

    >>> rate = FrameRate()
    >>> for moment in (1.0, 1.5, 2.0):
    ...     rate.add(moment)
    >>> rate.frames_per_second
    2.0
    """

    def __init__(self) -> None:
        self.count = 0
        self.first = 0.0
        self.last = 0.0
        self._recent: deque[float] = deque(maxlen=64)

    def add(self, moment: float) -> None:
        """Adds the moment, in seconds of any steady clock, at which a frame was ready."""
        if not self.count:
            self.first = moment
        self.last = moment
        self._recent.append(moment)
        self.count += 1

    @property
    def frames_per_second(self) -> float | None:
        """Rate over the whole run; None with fewer than two frames."""
        return _rate(self.count, self.first, self.last)

    @property
    def recent_frames_per_second(self) -> float | None:
        """Rate over the last 64 frames; None with fewer than two frames."""
        recent = tuple(self._recent)
        return _rate(len(recent), recent[0], recent[-1]) if recent else None


def combined_rate(rates: Sequence[FrameRate]) -> float | None:
    """Returns the rate of several together, from the first moment of any to the last one; None with too few frames."""
    begun = [rate for rate in rates if rate.count]
    if not begun:
        return None
    return _rate(sum(rate.count for rate in begun), min(rate.first for rate in begun), max(rate.last for rate in begun))


def _rate(count: int, first: float, last: float) -> float | None:
    return (count - 1) / (last - first) if count > 1 and last > first else None
