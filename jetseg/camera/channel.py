"""Hands items from one stage to the next, by the source's policy: the latest one, or every one."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from threading import Condition
from typing import Generic, TypeVar

T = TypeVar("T")


class ChannelClosed(Exception):  # noqa: N818 - an end, not an error
    """Nothing more will come."""


class Channel(Generic[T]):
    """A bounded queue between two threads that counts what it loses.

    `dropped` counts items that a newer one replaced, `abandoned` those that met a closed channel.

    Args:
        capacity: Items that may wait.
        latest: True: a new item replaces the oldest waiting one, which counts as dropped. False: `put`
            waits for space, and nothing is lost unless the channel is closed.
    """

    def __init__(self, capacity: int, *, latest: bool) -> None:
        self.dropped = 0
        self.abandoned = 0
        self._capacity = capacity
        self._latest = latest
        self._items: deque[T] = deque()
        self._closed = False
        self._changed = Condition()

    def put(self, item: T) -> bool:
        """Hands over an item; False, and the item counts as abandoned, if the channel is closed."""
        with self._changed:
            while not (self._closed or self._latest or len(self._items) < self._capacity):
                self._changed.wait()
            if self._closed:
                self.abandoned += 1
                return False
            if len(self._items) >= self._capacity:
                self._items.popleft()
                self.dropped += 1
            self._items.append(item)
            self._changed.notify_all()
            return True

    def get(self, timeout: float | None = None) -> T:
        """Waits for an item.

        Raises:
            TimeoutError: Nothing came within `timeout` seconds.
            ChannelClosed: The channel is closed and empty.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._items or self._closed, timeout):
                raise TimeoutError
            if not self._items:
                raise ChannelClosed
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def wait(self) -> None:
        """Waits until there is an item to get.

        Raises:
            ChannelClosed: The channel is closed and empty.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._closed)
            if not self._items:
                raise ChannelClosed

    @property
    def ended(self) -> bool:
        """Whether it is closed and empty."""
        with self._changed:
            return self._closed and not self._items

    def __iter__(self) -> Iterator[T]:
        """Yields items until the channel is closed and empty."""
        with suppress(ChannelClosed):
            while True:
                yield self.get()

    def close(self) -> None:
        """Accepts nothing more; what waits can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def abandon(self) -> None:
        """Closes the channel and drops what waits."""
        with self._changed:
            self._closed = True
            self.abandoned += len(self._items)
            self._items.clear()
            self._changed.notify_all()
