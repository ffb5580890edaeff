"""How many of a list, the most promising first, are enough."""

from __future__ import annotations

from collections.abc import Callable


def fewest(most: int, wanted: float, gain: Callable[[int], float]) -> tuple[int, float]:
    """Returns how many of a list's first entries gain enough, and what they gain, with few tries.

    Args:
        most: All of them; they are taken to be enough.
        wanted: The gain that is enough.
        gain: Tells what so many entries gain; more are taken to gain more.

    >>> fewest(10, 6.0, lambda count: 2.0 * count)
    (3, 6.0)
    """
    too_few, count = 0, 1
    enough: tuple[int, float] | None = None
    while too_few + 1 < (enough[0] if enough else most):
        won = gain(count)
        if won >= wanted:
            enough = count, won
        else:
            too_few = count
        count = (too_few + enough[0]) // 2 if enough else min(2 * count, most - 1)
    return enough or (most, gain(most))
