"""Turns a figure that crosses a bound into few, sure messages: it must stay beyond, and come well back."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

from jetseg.monitor.events import Severity

_GAP = 4
"""Lengths of a window after which what came before no longer counts."""

Change = Literal["raised", "ended"]


@dataclass(frozen=True)
class Notice:
    """Something that a monitor has to say; the arguments of `EventLog.add`."""

    kind: str
    severity: Severity
    text: str
    values: dict[str, float | int | str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Bound:
    """Where a figure is no longer normal.

    Attributes:
        limit: Beyond it the alarm is raised.
        recovery: Back on this side of it the alarm ends; it lies nearer to the normal value.
        above: Whether beyond means above.
    """

    limit: float
    recovery: float
    above: bool

    def beyond(self, value: float) -> bool:
        """Tells whether a value is beyond the limit."""
        return value > self.limit if self.above else value < self.limit

    def recovered(self, value: float) -> bool:
        """Tells whether a value is back."""
        return value <= self.recovery if self.above else value >= self.recovery


class Alarm:
    """Raised when a figure stays beyond its bound, ended when it stays well within it.

    Args:
        bound: The bound.
        raise_after_s: How long it must stay beyond.
        end_after_s: How long it must be back.

    >>> alarm = Alarm(Bound(limit=10, recovery=8, above=True), raise_after_s=1, end_after_s=1)
    >>> [alarm.update(value, second) for second, value in enumerate([20, 20, 9, 9, 9, 5, 5])]
    [None, 'raised', None, None, None, None, 'ended']
    """

    def __init__(self, bound: Bound, *, raise_after_s: float = 0.0, end_after_s: float = 0.0) -> None:
        self.bound = bound
        self.active = False
        self.count = 0
        self._raise_after_s, self._end_after_s = raise_after_s, end_after_s
        self._since: float | None = None

    def update(self, value: float | None, moment_s: float) -> Change | None:
        """Takes the present value; None means that there is none, and starts all waiting anew."""
        turning = value is not None and (self.bound.recovered(value) if self.active else self.bound.beyond(value))
        if not turning:
            self._since = None
            return None
        self._since = moment_s if self._since is None else self._since
        if moment_s - self._since < (self._end_after_s if self.active else self._raise_after_s):
            return None
        self._since = None
        self.active = not self.active
        self.count += self.active
        return "raised" if self.active else "ended"


class Window:
    """One figure for the values of the last moments.

    Args:
        seconds: How far back it looks.
        least: Values without which there is no figure.
        combine: Makes the figure; the median by default.
    """

    def __init__(self, seconds: float, least: int, combine: Callable[[Iterable[float]], float] = median) -> None:
        self._seconds, self._least, self._combine = seconds, least, combine
        self._values: deque[tuple[float, float]] = deque()
        self._started: float | None = None

    def add(self, value: float, moment_s: float) -> None:
        """Adds a value; moments do not go back."""
        if self._values and moment_s - self._values[-1][0] > _GAP * self._seconds:
            self._values.clear()
            self._started = None
        self._started = moment_s if self._started is None else self._started
        self._values.append((moment_s, value))
        # a slow engine still gets its least number of values, from further back
        while len(self._values) > self._least and moment_s - self._values[0][0] > self._seconds:
            self._values.popleft()

    def value(self) -> float | None:
        """Returns the figure; None before the window has been filled once, or after a gap."""
        if self._started is None or len(self._values) < self._least:
            return None
        if self._values[-1][0] - self._started < 0.9 * self._seconds:
            return None
        return self._combine(value for _, value in self._values)
