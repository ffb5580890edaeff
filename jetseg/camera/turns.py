"""Lets the loops of several cameras use one engine by turns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition
from time import perf_counter
from typing import TypeVar

from jetseg.camera.channel import Channel, ChannelClosed

T = TypeVar("T")
_POLL_SECONDS = 0.1


class Turns:
    """Who uses the engine: of those that have a frame, the one whose last turn is longest ago.

    So each gets an equal share while the engine is too slow for all, a camera that needs less than its share gets all
    that it needs, and one that gives many frames makes no other wait for more than one of them.
    """

    def __init__(self) -> None:
        self._changed = Condition()
        self._waiting: set[Turn] = set()
        self._is_taken = self._is_over = False

    def join(self) -> Turn:
        """Returns the part of one more loop."""
        return Turn(self)

    def take(self, turn: Turn, frames: Channel[T]) -> T:
        """Waits until it is a loop's turn, and takes its newest frame then.

        Raises:
            ChannelClosed: It will have none any more, or nobody gets a turn.
        """
        with self._changed:
            self._waiting.add(turn)
            try:
                while self._is_taken or min(self._waiting, key=lambda waiting: waiting.last_at) is not turn:
                    self._changed.wait(_POLL_SECONDS)
                    if self._is_over or frames.ended:
                        raise ChannelClosed
                frame = frames.get(0)
                self._is_taken = True
                turn.last_at = perf_counter()
                return frame
            finally:
                self._waiting.discard(turn)
                if not self._is_taken:
                    self._changed.notify_all()

    def give_back(self) -> None:
        """Lets the next one use the engine."""
        with self._changed:
            self._is_taken = False
            self._changed.notify_all()

    def end(self) -> None:
        """Lets nobody wait for a turn any more, as when the engine does not come back."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()


class Turn:
    """The part of one loop; see `Turns`.

    Attributes:
        last_at: When it had the engine last, in `perf_counter` seconds.
    """

    def __init__(self, turns: Turns) -> None:
        self.last_at = 0.0
        self._turns = turns

    @contextmanager
    def frame(self, frames: Channel[T]) -> Iterator[T]:
        """Waits for a frame and for the engine, which no other loop uses while the block runs.

        Raises:
            ChannelClosed: There will be no frame any more.
        """
        frames.wait()
        frame = self._turns.take(self, frames)
        try:
            yield frame
        finally:
            self._turns.give_back()
