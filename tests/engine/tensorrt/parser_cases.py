"""All small graphs that NVIDIA's parser and lint are compared on: one for each value of each attribute."""

from __future__ import annotations

from collections.abc import Iterator

import layer_cases
import operator_cases
from case_network import Case


def cases() -> Iterator[Case]:
    """Yields the name of each case, its operator first, and the graph."""
    yield from layer_cases.cases()
    yield from operator_cases.cases()
