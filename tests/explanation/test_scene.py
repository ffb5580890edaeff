"""A label taken apart, against definitions written out pixel by pixel."""

import numpy as np
import pytest

from jetseg.evaluation.confusion import ConfusionMatrix
from jetseg.explanation.counting import Key, count_frame
from jetseg.explanation.prediction import Prediction
from jetseg.explanation.scene import Scene


@pytest.fixture
def label():
    label = np.zeros((40, 60), np.uint8)
    label[5:25, 10:30] = 1
    label[30:33, 50:53] = 2
    label[:, 55:] = 255
    return label


def test_bands_go_by_the_distance_to_the_nearest_change_of_class(label):
    scene = Scene(label, 3, 255)
    diagonal = np.hypot(40, 60)
    edges = [
        (y, x)
        for y in range(40)
        for x in range(60)
        for down, right in ((0, 1), (1, 0), (0, -1), (-1, 0))
        if 0 <= y + down < 40
        and 0 <= x + right < 60
        and label[y, x] != label[y + down, x + right]
        and 255 not in (label[y, x], label[y + down, x + right])
    ]
    for y, x in ((5, 10), (6, 11), (7, 13), (15, 20), (0, 0), (39, 40)):
        distance = min(np.hypot(y - row, x - column) for row, column in edges)
        expected = np.digitize(distance, np.array((0.005, 0.01, 0.02, 0.04)) * diagonal)
        assert abs(scene.band_hw[y, x] - expected) <= (0 if distance < 1.5 else 1)
    assert scene.band_hw[5, 10] == 0


def test_a_label_without_boundaries_is_far_from_all():
    assert (Scene(np.zeros((4, 5), np.uint8), 2, None).band_hw == 4).all()


def test_the_rim_of_a_mask_is_what_is_near_its_outside(label):
    scene = Scene(label, 3, 255)
    mask = scene.mask(1)
    reach = max(1, round(0.02 * np.hypot(40, 60)))
    padded = np.pad(mask, reach)
    expected = np.zeros_like(mask)
    for y, x in zip(*np.nonzero(mask), strict=True):
        expected[y, x] = not padded[y : y + 2 * reach + 1, x : x + 2 * reach + 1].all()
    assert (scene.rim(mask) == expected).all()
    assert expected.sum() == 20 * 20 - (20 - 2 * reach) ** 2


def test_objects_are_found_seen_or_invented(label):
    prediction = label.copy()
    prediction[prediction == 255] = 0
    prediction[30:33, 50:53] = 0
    prediction[30, 50:52] = 2  # two ninths: seen, and not found
    prediction[36:39, 2:5] = 1  # nothing is there
    matrix = ConfusionMatrix(("road", "sign", "car"), 255)
    matrix.update(label, prediction)
    counted = count_frame(Scene(label, 3, 255), Prediction(prediction), matrix)
    size = next(key.part for key in counted if key.kind == "size" and key.subject == "car")
    assert counted[Key("size", "car", size)] == (0, 1)
    assert counted[Key("seen", "car", size)] == (1, 1)
    assert counted[Key("objects", "sign")] == (1, 1)
    assert counted[Key("objects")] == (2, 3)
    assert counted[Key("invented", "sign")] == (1, 2)
    assert counted[Key("pixels")] == (40 * 55 - 7 - 9, 40 * 55)
    assert counted[Key("class", "sign")] == (400, 409)


def test_ignored_pixels_count_nowhere(label):
    prediction = label.copy()
    prediction[prediction == 255] = 2
    matrix = ConfusionMatrix(("road", "sign", "car"), 255)
    matrix.update(label, prediction)
    counted = count_frame(Scene(label, 3, 255), Prediction(prediction), matrix)
    assert all(hits == total for hits, total in counted.values())
    assert sum(total for key, (_, total) in counted.items() if key.kind == "band") == 40 * 55
    assert sum(total for key, (_, total) in counted.items() if key.kind == "region") == 40 * 55
