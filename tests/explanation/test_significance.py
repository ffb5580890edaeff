"""Chance is not told as a loss, and a loss is."""

import numpy as np
import pytest

from jetseg.evaluation.confusion import ConfusionMatrix
from jetseg.explanation.counting import Key, count_frame, reliability
from jetseg.explanation.ledger import gather
from jetseg.explanation.prediction import Prediction
from jetseg.explanation.scene import Scene
from jetseg.explanation.significance import CALIBRATION, MIOU, compare

CLASSES = ("road", "sign", "car")
SHAPE = (36, 48)


def label_of(rng):
    label = np.zeros(SHAPE, np.uint8)
    for size in (16, 10, 6, 4, 2, 2):
        top, left = rng.integers(0, SHAPE[0] - size), rng.integers(0, SHAPE[1] - size)
        label[top : top + size, left : left + size] = rng.integers(1, len(CLASSES))
    return label


def prediction_of(label, rng, errors):
    """Wrong patches in a number that varies from frame to frame, as real networks have them."""
    ids = label.copy()
    for _ in range(rng.poisson(errors)):
        size = rng.integers(2, 8)
        top, left = rng.integers(0, SHAPE[0] - size), rng.integers(0, SHAPE[1] - size)
        ids[top : top + size, left : left + size] = rng.integers(0, len(CLASSES))
    confidence = rng.uniform(0.4, 1.0, SHAPE).astype(np.float32)
    return Prediction(ids, confidence, confidence)


def compared(seed, errors, frames=16):
    rng = np.random.default_rng(seed)
    counted, bins = ([], []), ([], [])
    for _ in range(frames):
        label = label_of(rng)
        scene = Scene(label, len(CLASSES), 255)
        for network, often in enumerate(errors):
            prediction = prediction_of(label, rng, often)
            own = ConfusionMatrix(CLASSES, 255)
            own.update(label, prediction.ids_hw_u8)
            counted[network].append(count_frame(scene, prediction, own))
            bins[network].append(reliability(scene, prediction))
    return compare(*gather(counted, bins), seed=seed)


def test_two_equally_good_networks_get_at_most_one_false_claim_in_twenty_seeds():
    claims = [[loss.key for loss in compared(seed, (4, 4)) if loss.claimed] for seed in range(20)]
    assert sum(bool(found) for found in claims) <= 1


def test_intervals_alone_would_claim_more_than_that():
    false = [any(loss.low > 0 for loss in compared(seed, (4, 4))) for seed in range(6)]
    assert sum(false) > 1


def test_a_worse_network_is_found_out():
    losses = {loss.key: loss for loss in compared(0, (2, 12))}
    assert losses[MIOU].claimed
    assert losses[Key("class", "sign")].claimed
    assert losses[MIOU].low < losses[MIOU].points < losses[MIOU].high


def test_shares_are_those_of_the_sums_over_frames():
    losses = {loss.key: loss for loss in compared(3, (2, 6))}
    rng = np.random.default_rng(3)
    matrices = [ConfusionMatrix(CLASSES, 255) for _ in range(2)]
    for _ in range(16):
        label = label_of(rng)
        for matrix, often in zip(matrices, (2, 6), strict=True):
            matrix.update(label, prediction_of(label, rng, often).ids_hw_u8)
    for number, matrix in enumerate(matrices):
        score = matrix.score()
        told = losses[MIOU].before if number == 0 else losses[MIOU].after
        assert told == pytest.approx(score.miou)
        own = losses[Key("class", "car")]
        assert (own.after if number else own.before) == pytest.approx(score.per_class_iou["car"])


@pytest.mark.slow
def test_an_interval_holds_the_true_loss_about_as_often_as_it_says():
    truth = np.mean([loss.points for seed in range(100, 130) for loss in compared(seed, (3, 5)) if loss.key == MIOU])
    held = []
    for seed in range(30):
        (loss,) = (loss for loss in compared(seed, (3, 5)) if loss.key == MIOU)
        held.append(loss.low <= truth <= loss.high)
    assert np.mean(held) >= 0.8


def test_the_calibration_error_is_that_of_its_definition():
    losses = {loss.key: loss for loss in compared(5, (4, 4), frames=4)}
    rng = np.random.default_rng(5)
    rights, confidences = [], []
    for _ in range(4):
        label = label_of(rng)
        for network in range(2):
            found = prediction_of(label, rng, 4)
            if network == 0:
                rights.append((found.ids_hw_u8 == label).ravel())
                confidences.append(found.confidence_hw.ravel())
    right, confidence = np.concatenate(rights), np.concatenate(confidences).astype(np.float64)
    error = 0.0
    for low in range(15):
        inside = (confidence * 15 >= low) & (confidence * 15 < low + 1)
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert losses[CALIBRATION].before == pytest.approx(100 * (1 - error), abs=1e-6)
