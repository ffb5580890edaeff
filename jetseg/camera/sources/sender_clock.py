"""Dates pictures by the stamps of their senders, where both clocks agree."""

from __future__ import annotations

import time
from time import perf_counter

from jetseg.errors import JetsegError
from jetseg.monitor.events import EventLog
from jetseg.ros.message_types import CLOCK, from_cdr
from jetseg.ros.stamp import SECOND, Stamp

_EARLIEST_SECONDS = 0.05
"""A stamp this far in the future is still the work of two clocks that agree."""
_OLDEST_SECONDS = 10.0
"""An older stamp is rather that of another clock."""


def plausible_age(age_s: float) -> bool:
    """Tells whether a stamp of this age can be of a clock that agrees.

    >>> plausible_age(0.2), plausible_age(-0.2), plausible_age(1e9)
    (True, False, False)
    """
    return -_EARLIEST_SECONDS <= age_s <= _OLDEST_SECONDS


class SenderClock:
    """Tells when a picture was captured, on this machine's clock.

    Args:
        name: Of the source, for people.
        events: Gets "clock-differs" when stamps cannot be right, and "clock-agrees" when they are again.
        simulated: Time is what `tell` gets, and not this machine's.

    >>> clock = SenderClock("ros2:/image", EventLog())
    >>> taken = Stamp(time.time_ns() - SECOND // 4, "front")
    >>> round(perf_counter() - clock.date(taken, perf_counter()), 2)
    0.25
    """

    def __init__(self, name: str, events: EventLog, *, simulated: bool = False) -> None:
        self._name = name
        self._events = events
        self._simulated = simulated
        self._now: int | None = None
        self._differs = False

    @property
    def differs(self) -> bool:
        """Whether the last picture had to be dated by its arrival."""
        return self._differs

    def tell(self, content: bytes) -> None:
        """Takes a message of /clock; what is none is left out."""
        try:
            clock = from_cdr(content, CLOCK).clock
        except JetsegError:
            return
        self._now = clock.sec * SECOND + clock.nanosec

    def date(self, stamp: Stamp, arrived_at: float) -> float:
        """Returns when a picture was captured, in `perf_counter` seconds; its arrival where the stamp cannot be right.

        Args:
            stamp: Of its message.
            arrived_at: When it came, in `perf_counter` seconds.
        """
        now = self._now if self._simulated else time.time_ns() - round((perf_counter() - arrived_at) * SECOND)
        if stamp.nanoseconds == 0 or now is None:
            self._report(differs=True, reason="does not say when its pictures were taken")
            return arrived_at
        age = (now - stamp.nanoseconds) / SECOND
        differs = not plausible_age(age)
        self._report(differs=differs, reason=f"has a clock that differs from this one by {age:.3f} seconds")
        return arrived_at if differs else arrived_at - max(age, 0.0)

    def _report(self, *, differs: bool, reason: str) -> None:
        if differs and not self._differs:
            text = f"{self._name} {reason}; the age of a frame counts from its arrival."
            self._events.add("clock-differs", "warning", text)
        elif self._differs and not differs:
            text = f"The clock of {self._name} agrees with this one; the age of a frame counts from its stamp."
            self._events.add("clock-agrees", "info", text)
        self._differs = differs
