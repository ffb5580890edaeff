"""Runs an output in a thread of its own, so that neither a slow disk nor a broken one reaches the loop."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, suppress
from threading import Event as ThreadEvent
from threading import Thread
from time import perf_counter
from typing import Protocol, TypeVar

from jetseg.camera.channel import Channel, ChannelClosed
from jetseg.camera.contract import FrameResult
from jetseg.monitor.events import Event, EventLog
from jetseg.monitor.observer import Observation

T = TypeVar("T")
RETRY_SECONDS = 30.0
"""How long an output that failed is left alone."""
_CLOSE_SECONDS = 10.0
_MOST_NOTES = 100
"""Figures and events that may wait for an output; older ones are lost then."""

Note = Observation | Event
"""What happens beside the frames: figures twice a second, and events."""


class Output(Protocol):
    """A slow place for processed frames. All methods are called from one thread."""

    kind: str
    """A noun for its events, as in "recording"."""
    wants_overlay: bool

    def write(self, result: FrameResult) -> None:
        """Takes one frame; whatever it raises becomes an event, and the output rests."""
        ...

    def note(self, note: Note) -> None:
        """Takes figures or an event, if it was opened with `watch`; as for `write`."""
        del note

    def reset(self) -> None:
        """Gives up what a failed `write` left open, by default as at the end; `write` may follow."""
        self.close()

    def close(self) -> None:
        """Finishes and frees what is open, by default nothing."""
        return


def in_background(
    output: Output,
    events: EventLog,
    *,
    live: bool,
    retry_seconds: float | None = None,
    watch: Callable[[Callable[[Observation], None]], None] | None = None,
) -> closing[BackgroundSink]:
    """Gives a sink that hands frames to an output in another thread, and closes both.

    Args:
        output: What does the work.
        events: Gets "<kind>-stopped" when the output fails and "<kind>-resumed" when it works again.
        live: A frame that the output has no time for is replaced by the next one. False: frames come from a
            file, none is lost, and the loop waits for the output.
        retry_seconds: Rest after a failure; half a minute by default.
        watch: `SinkContext.watch`, for an output that takes figures and events as well.
    """
    rest = RETRY_SECONDS if retry_seconds is None else retry_seconds
    sink = BackgroundSink(output, events, live=live, retry_seconds=rest)
    if watch is not None:
        watch(sink.note)
        events.listen(sink.note)
    return closing(sink)


class BackgroundSink:
    """The loop's end of an output; see `in_background`."""

    def __init__(self, output: Output, events: EventLog, *, live: bool, retry_seconds: float) -> None:
        self.wants_overlay = output.wants_overlay
        self._output = output
        self._events = events
        self._retry_seconds = retry_seconds
        self._rests_until: float | None = None
        self._results: Channel[FrameResult] = Channel(1, latest=live)
        self._notes: Channel[Note] = Channel(_MOST_NOTES, latest=True)
        self._something = ThreadEvent()
        """Something waits for the output, or nothing more will come."""
        self._thread = Thread(target=self._work, name=f"jetseg-{output.kind}", daemon=True)
        self._thread.start()

    @property
    def skipped(self) -> int:
        """Frames that a newer one replaced before the output had time for them."""
        return self._results.dropped

    def write(self, result: FrameResult) -> None:
        """Hands over a frame."""
        self._results.put(result)
        self._something.set()

    def note(self, note: Note) -> None:
        """Hands over figures or an event."""
        self._notes.put(note)
        self._something.set()

    def close(self) -> None:
        """Lets the output finish what it has, for ten seconds at most."""
        self._results.close()
        self._something.set()
        self._thread.join(_CLOSE_SECONDS)
        if self._thread.is_alive():
            kind = self._output.kind
            self._events.add(
                f"{kind}-stuck", "alarm", f"The {kind} did not finish within {_CLOSE_SECONDS:.0f} seconds."
            )

    def _work(self) -> None:
        with suppress(ChannelClosed):
            while True:
                self._something.wait()
                self._something.clear()
                self._work_off_notes()
                with suppress(TimeoutError):
                    while True:
                        self._try(self._output.write, self._results.get(0))
                        self._work_off_notes()
        self._work_off_notes()
        try:
            self._output.close()
        except Exception as error:
            self._fail(error)

    def _work_off_notes(self) -> None:
        with suppress(TimeoutError, ChannelClosed):
            while True:
                note = self._notes.get(0)
                self._try(self._output.note, note)

    def _try(self, work: Callable[[T], None], item: T) -> None:
        """Gives the output something, unless it rests."""
        if self._rests_until is not None and perf_counter() < self._rests_until:
            return
        try:
            work(item)
        except Exception as error:
            self._fail(error)
        else:
            self._recover()

    def _fail(self, error: Exception) -> None:
        kind = self._output.kind
        if self._rests_until is None:
            self._events.add(f"{kind}-stopped", "alarm", f"The {kind} stopped: {error}")
        self._rests_until = perf_counter() + self._retry_seconds
        with suppress(Exception):  # what broke a write often breaks this too; the first reason was told
            self._output.reset()

    def _recover(self) -> None:
        if self._rests_until is not None:
            self._rests_until = None
            self._events.add(f"{self._output.kind}-resumed", "info", f"The {self._output.kind} works again.")
