"""The cheapest way to split a network into two parts: a minimum cut, by the largest flow."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Mapping
from math import inf

Edge = tuple[Hashable, Hashable]


def minimum_cut(capacities: Mapping[Edge, float], source: Hashable, sink: Hashable) -> set[Hashable]:
    """Returns the vertices on the source's side of a cheapest cut, by shortest augmenting paths.

    The method is that of Edmonds and Karp (1972), which is quick enough for a few thousand edges.

    Args:
        capacities: What it costs to cut an edge, by its ends; infinite for what must not be cut.
        source: Vertex that all flow comes from.
        sink: Vertex that all flow goes to.

    >>> sorted(minimum_cut({("s", "a"): 3.0, ("a", "b"): 1.0, ("b", "t"): 2.0}, "s", "t"))
    ['a', 's']
    """
    left: dict[Hashable, dict[Hashable, float]] = {source: {}, sink: {}}
    for (start, end), capacity in capacities.items():
        left.setdefault(start, {}).setdefault(end, 0.0)
        left[start][end] += capacity
        left.setdefault(end, {}).setdefault(start, 0.0)
    while True:
        before = _reached(left, source)
        if sink not in before:
            return set(before)
        path: list[Edge] = []
        end = sink
        while end != source:
            path.append((before[end], end))
            end = before[end]
        flow = min(left[start][end] for start, end in path)
        for start, end in path:
            if left[start][end] < inf:
                left[start][end] -= flow
            left[end][start] += flow


def _reached(left: Mapping[Hashable, Mapping[Hashable, float]], source: Hashable) -> dict[Hashable, Hashable]:
    """Returns the vertices that flow still reaches, each with the one before it, breadth first."""
    before: dict[Hashable, Hashable] = {source: source}
    waiting = deque([source])
    while waiting:
        vertex = waiting.popleft()
        for other, capacity in left[vertex].items():
            if capacity > 1e-12 and other not in before:
                before[other] = vertex
                waiting.append(other)
    return before
