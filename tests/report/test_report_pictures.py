import base64

import cv2
import numpy as np
import pytest

from jetseg.report import pictures
from jetseg.report.pictures import GAINED, LOST, OTHER, disagreement_map, draw_examples


def test_a_disagreement_is_colored_by_who_is_right():
    #        agree, lost, gained, both wrong, not labelled
    label = np.array([[0, 1, 1, 1, 9]], np.uint8)
    before = np.array([[0, 1, 0, 0, 0]], np.uint8)
    after = np.array([[0, 0, 1, 2, 1]], np.uint8)
    image = np.full((1, 5, 3), 100, np.uint8)
    drawn = disagreement_map(image, label, label == 9, before, after)
    assert [tuple(pixel[::-1]) for pixel in drawn[0].tolist()] == [(70, 70, 70), LOST, GAINED, OTHER, OTHER]


def test_an_ignored_id_that_is_also_a_class_is_neither_lost_nor_gained():
    label = np.zeros((1, 2), np.uint8)
    before, after = np.array([[0, 1]], np.uint8), np.array([[1, 0]], np.uint8)
    drawn = disagreement_map(np.zeros((1, 2, 3), np.uint8), label, label == 0, before, after)
    assert [tuple(pixel[::-1]) for pixel in drawn[0].tolist()] == [OTHER, OTHER]


def test_every_frame_shows_input_label_networks_and_disagreements(entries, dataset):
    first, second = draw_examples(entries, dataset, [(2, "largest disagreement"), (5, "a typical frame")])
    assert (first.name, second.reason) == (dataset[2].name, "a typical frame")
    assert [len(part) for part in (first.given, first.overlays, first.disagreements)] == [2, 2, 1]
    for picture in first.given + first.overlays + first.disagreements:
        head, _, data = picture.uri.partition(",")
        assert head == "data:image/jpeg;base64"
        decoded = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
        assert decoded.shape == dataset[2].image_hwc_u8.shape


def test_notes_are_measured_on_labelled_pixels(entries, dataset, monkeypatch: pytest.MonkeyPatch):
    maps = [np.zeros((24, 32), np.uint8), np.ones((24, 32), np.uint8)]
    monkeypatch.setattr(pictures, "predict_all", lambda *_: maps)
    label = dataset[0].label_hw_u8
    (example,) = draw_examples(entries, dataset, [(0, "")])
    assert example.overlays[0].note == f"{100 * np.mean(label == 0):.1f}% of the labelled pixels right"
    assert example.disagreements[0].note == "0.0% agreement"
