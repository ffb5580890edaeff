"""Against brute force over all ways to split a small network."""

from itertools import product
from math import inf

import numpy as np
import pytest

from jetseg.engine.minimum_cut import minimum_cut


def price(capacities, inside):
    return sum(capacity for (start, end), capacity in capacities.items() if start in inside and end not in inside)


@pytest.mark.parametrize("seed", range(20))
def test_no_split_is_cheaper(seed):
    rng = np.random.default_rng(seed)
    inner = "abcdef"
    edges = [
        (start, end) for start in ["s", *inner] for end in [*inner, "t"] if start != end and (start, end) != ("s", "t")
    ]
    capacities = {edge: float(rng.integers(0, 9)) for edge in edges if rng.random() < 0.5}
    capacities["a", "b"] = inf
    capacities["b", "t"] = 3.0
    found = minimum_cut(capacities, "s", "t")
    assert "s" in found
    assert "t" not in found
    cheapest = min(
        price(capacities, {"s", *(name for name, chosen in zip(inner, choice, strict=True) if chosen)})
        for choice in product((False, True), repeat=len(inner))
    )
    assert price(capacities, found) == pytest.approx(cheapest)
