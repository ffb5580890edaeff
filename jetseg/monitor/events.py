"""What happened during a run, in order: cameras lost and found, drift, missed deadlines, full disks."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import Literal

Severity = Literal["info", "warning", "alarm"]
_KEPT = 1000


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    Attributes:
        sequence: Counts the events of a run, from 0.
        at: Unix time, in seconds.
        kind: What it is, for machines: lower case words joined by hyphens, as in "camera-lost".
        severity: "info" for what went well, "warning" for what limits the run, "alarm" for what a person
            should act on.
        text: What happened, for people: one sentence.
        values: Figures that belong to it, with units in their names, as in {"silent_s": 2.1}.
    """

    sequence: int
    at: float
    kind: str
    severity: Severity
    text: str
    values: dict[str, float | int | str | None] = field(default_factory=dict)


Listener = Callable[[Event], None]


class EventLog:
    """The events of a run. Any thread may add and read; the newest thousand are kept.

    >>> log = EventLog()
    >>> event = log.add("camera-lost", "warning", "0 gives no frames.", silent_s=2.0)
    >>> [(event.sequence, event.kind) for event in log.recent()]
    [(0, 'camera-lost')]
    """

    def __init__(self) -> None:
        self._events: deque[Event] = deque(maxlen=_KEPT)
        self._listeners: list[Listener] = []
        self._count = 0
        self._lock = Lock()

    def add(self, kind: str, severity: Severity, text: str, **values: float | int | str | None) -> Event:
        """Adds an event and tells the listeners, in order, in the calling thread.

        A listener must be quick and must not raise: what it wants to do slowly it hands to its own thread.
        """
        with self._lock:
            event = Event(self._count, time.time(), kind, severity, text, values)
            self._count += 1
            self._events.append(event)
            for listener in self._listeners:
                listener(event)
        return event

    def recent(self, count: int = _KEPT) -> list[Event]:
        """Returns the newest events, oldest first."""
        with self._lock:
            return list(self._events)[-count:]

    def listen(self, listener: Listener) -> None:
        """Calls `listener` with every event from now on."""
        with self._lock:
            self._listeners.append(listener)
