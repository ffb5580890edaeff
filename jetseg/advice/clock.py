"""How much time is left, for all probes and for the one that runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Clock:
    """Shares a number of seconds among pieces of work.

    Attributes:
        seconds: For all of them.
        now: Gives the time in seconds.

    >>> moments = iter((0.0, 2.0, 3.0))
    >>> clock = Clock(10.0, now=lambda: next(moments))
    >>> clock.begin(0.5)
    >>> clock.left()
    3.0
    """

    seconds: float
    now: Callable[[], float] = time.monotonic
    _end: float = field(init=False)
    _own_end: float = field(init=False)

    def __post_init__(self) -> None:
        self._end = self._own_end = self.now() + self.seconds

    def begin(self, share: float) -> None:
        """Begins a piece of work that may take this fraction of what is left."""
        moment = self.now()
        self._own_end = moment + share * max(0.0, self._end - moment)

    def left(self) -> float:
        """Returns the seconds that are left for the piece of work; negative if it took longer."""
        return self._own_end - self.now()
