"""Which workers are alive: each writes a beat, and who sees it stand still knows that its trial must be run again."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread

import psutil

from jetseg.searching.entries import Entry

BEAT_SECONDS = 10.0
GRACE_SECONDS = 90.0
"""How long a beat may stand still: longer than a database takes to start again."""


def worker_name() -> str:
    """Returns what tells this process from every other, those of other machines and of the past included."""
    return f"{_place()}/{os.getpid()}/{psutil.Process().create_time():.2f}"


def is_gone(worker: str) -> bool:
    """Tells whether a worker is known to have ended: one of this machine, whose process is not there any more."""
    place, _, process = worker.rpartition("/")[0].rpartition("/")
    created = worker.rpartition("/")[2]
    if place != _place() or not process.isdigit():
        return False
    try:
        found = psutil.Process(int(process))
        return found.status() == psutil.STATUS_ZOMBIE or f"{found.create_time():.2f}" != created
    except (psutil.NoSuchProcess, ValueError, OverflowError):
        return True
    except psutil.AccessDenied:
        return False


@dataclass
class Watch:
    """Notices by its own clock whose beat stands still, so that no two clocks need to agree.

    Attributes:
        grace_seconds: How long it may.
        clock: Gives the time in seconds.
    """

    grace_seconds: float = GRACE_SECONDS
    clock: Callable[[], float] = time.monotonic
    _seen: dict[int, tuple[str, float]] = field(default_factory=dict)

    def dead(self, entries: Sequence[Entry]) -> list[Entry]:
        """Returns the running trials whose worker is gone."""
        found, now = [], self.clock()
        for entry in entries:
            if entry.state != "running":
                self._seen.pop(entry.number, None)
                continue
            beat, since = self._seen.get(entry.number, ("", now))
            if (entry.number not in self._seen) or beat != entry.beat:
                self._seen[entry.number] = (entry.beat, now)
                since = now
            if is_gone(entry.worker) or now - since > self.grace_seconds:
                found.append(entry)
        return found


@contextmanager
def beating(beat: Callable[[int], None], seconds: float = BEAT_SECONDS) -> Iterator[None]:
    """Calls `beat` with a rising number while the block runs; what it raises is left to the block's own work."""
    over = Event()

    def run() -> None:
        count = 0
        while not over.wait(seconds):
            count += 1
            try:
                beat(count)
            except Exception:  # the block meets the same trouble, and says so
                continue

    thread = Thread(target=run, name="beat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _place() -> str:
    """Returns what tells this machine, and on it this group of processes, from all others."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    try:
        return f"{boot.read_text(encoding='ascii').strip()}:{Path('/proc/self/ns/pid').readlink()}"
    except OSError:  # another system than Linux: nothing is known of processes of before
        return f"{os.uname().nodename}:{os.getsid(0)}"
