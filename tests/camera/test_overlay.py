import cv2
import numpy as np
import pytest
from camera_fakes import ANY_SPEED, MANIFEST

from jetseg.camera.overlay import Overlay, figures_line
from jetseg.monitor.accuracy import RunningAccuracy
from jetseg.monitor.statistics import LoopStatistics


@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
def test_blend_equals_its_formula(alpha):
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
    ids = rng.integers(0, MANIFEST.num_classes + 1, (20, 30), dtype=np.uint8)
    before = frame.copy()
    picture = Overlay(MANIFEST, alpha).draw(frame, ids)
    colors = np.array([*MANIFEST.colors, (0, 0, 0)], dtype=float)[..., ::-1][ids]
    expected = (1 - alpha) * frame + alpha * colors.repeat(2, 0).repeat(2, 1)
    assert np.abs(picture - expected).max() <= 0.51
    assert np.array_equal(frame, before)


@pytest.mark.parametrize("size", [(40, 60), (60, 90), (20, 30), (50, 60), (40, 31), (10, 15), (20, 95)])
def test_colors_are_stretched_as_the_nearest_neighbor(size):
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    ids = rng.integers(0, MANIFEST.num_classes + 1, (20, 30), dtype=np.uint8)
    colors = np.array([*MANIFEST.colors, (0, 0, 0)], dtype=np.uint8)[:, ::-1][ids]
    stretched = cv2.resize(colors, size[::-1], interpolation=cv2.INTER_NEAREST)
    expected = cv2.addWeighted(frame, 0.7, stretched, 0.3, 0)
    for given in (frame, np.asfortranarray(frame)):
        np.testing.assert_array_equal(Overlay(MANIFEST, 0.3).draw(given, ids), expected)


def test_legend_and_figures_are_drawn_over_small_frames_too():
    statistics = LoopStatistics(ANY_SPEED, RunningAccuracy(MANIFEST.classes, None))
    statistics.add_class_map(1.0, 1.1)
    statistics.add_class_map(1.05, 1.2)
    statistics.accuracy.add(np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8))
    assert figures_line(statistics) == "10.0 fps   age 150 ms   mIoU 100.0"
    frame, ids = np.full((30, 40, 3), 90, np.uint8), np.zeros((30, 40), np.uint8)
    plain = Overlay(MANIFEST, 0.5).draw(frame, ids)
    full = Overlay(MANIFEST, 0.5, legend=True).draw(frame, ids, statistics)
    assert full.shape == frame.shape
    assert (full != plain).any()
