"""Ends a run when another release is to drive, so that its supervisor starts it again with that one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

from jetseg.camera.stopping import StopFlag
from jetseg.kit.releases import is_release
from jetseg.monitor.events import EventLog

_POLL_SECONDS = 0.5


@contextmanager
def follow_release(link: Path, release: Path, events: EventLog, stop: StopFlag) -> Iterator[None]:
    """Asks a run to end, as if its source had ended, once a link leads to another release.

    Args:
        link: The link, as in engines/current; a release itself never changes.
        release: Where it led when its engine was opened.
        events: Is told.
        stop: Ends the run.
    """
    left = Event()

    def watch() -> None:
        while not left.wait(_POLL_SECONDS):
            leads_to = link.resolve()
            if leads_to != release and is_release(leads_to):
                events.add(
                    "release-changed",
                    "info",
                    f"Release {leads_to.name} is to drive now, and this is {release.name}: the run ends, for its "
                    "supervisor to start it again.",
                )
                stop.requested = True
                return

    events.add("release-opened", "info", f"Release {release.name} drives.")
    thread = Thread(target=watch, name="jetseg-releases", daemon=True)
    thread.start()
    try:
        yield
    finally:
        left.set()
        thread.join()
