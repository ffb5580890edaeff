from __future__ import annotations

import numpy as np
import pytest

from jetseg.evaluation.finite import all_finite


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_every_kind_of_number_that_is_none_is_found(kind: type) -> None:
    largest = np.finfo(kind).max
    scores = np.array([[[largest, -largest], [-0.0, np.finfo(kind).smallest_subnormal]]], kind)
    assert all_finite(scores)
    for number in (np.nan, np.copysign(np.nan, -1), np.inf, -np.inf):
        for fill in (scores, -np.ones_like(scores), np.ones_like(scores)):
            odd = fill.copy()
            odd[0, 1, 0] = number
            assert not all_finite(odd)
            assert not all_finite(np.moveaxis(odd, 1, 2)), "whatever the order in memory"
    assert all_finite(np.zeros((0, 3), kind))
