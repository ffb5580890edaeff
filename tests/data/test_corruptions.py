from __future__ import annotations

import numpy as np
import pytest

from jetseg.data.corruptions import SEVERITIES, corrupt, corruption_names
from jetseg.data.synthetic.dataset import Synthetic


@pytest.fixture(scope="module")
def frame() -> np.ndarray:
    return Synthetic.open_split("synthetic:1", "1", "val")[0].image_hwc_u8


def test_there_are_ten_corruptions():
    assert corruption_names() == (
        *("fog", "rain", "night", "motion-blur", "noise", "jpeg", "exposure", "color", "dirt", "occlusion"),
    )


@pytest.mark.parametrize("name", corruption_names())
def test_each_severity_leaves_less_of_the_frame(name, frame):
    before = frame.copy()
    changes = [
        float(np.mean([np.abs(corrupt(frame, name, severity, seed).astype(int) - frame).mean() for seed in range(8)]))
        for severity in SEVERITIES
    ]
    assert np.array_equal(frame, before)
    assert changes == sorted(changes)
    assert changes[0] > 0.5


@pytest.mark.parametrize("name", corruption_names())
def test_equal_arguments_give_equal_frames_of_any_size(name):
    for shape in ((1, 1, 3), (7, 300, 3), (200, 5, 3)):
        gray = np.full(shape, 90, np.uint8)
        first, again = (corrupt(gray, name, 5, seed=3) for _ in range(2))
        assert first.shape == shape
        assert first.dtype == np.uint8
        assert np.array_equal(first, again)
