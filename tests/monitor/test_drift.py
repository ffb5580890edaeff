from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from jetseg.evaluation.profile import make_profile
from jetseg.evaluation.signals import SignalMeter
from jetseg.manifest import Manifest
from jetseg.monitor.drift import KINDS, DriftMonitor, learn_bound

MANIFEST = Manifest.model_validate({"classes": ["sky", "road", "car"], "input": {"height": 90, "width": 120}})
FRAMES_PER_SECOND = 25


def drive(index, rng):
    """A road under a bluish sky, with clouds, texture and changing light, and the right answer to it."""
    image = np.empty((180, 240, 3), np.float32)
    image[:80] = (190, 160, 130)
    image[80:] = (90, 92, 96)
    image += cv2.resize(rng.normal(0, 14, (9, 12, 1)).astype(np.float32), (240, 180))[..., None]
    image += rng.normal(0, 10, (180, 240, 1))
    ids = np.repeat(np.uint8([0, 1]), [40, 50])[:, None].repeat(120, 1)
    width = 10 + int(rng.integers(10))
    ids[50:65, 40 : 40 + width] = 2
    image[100:130, 80 : 80 + 2 * width] = (30, 30, 160)
    image = np.clip(image * (0.9 + 0.2 * rng.random()), 0, 255).astype(np.uint8)
    scores = np.full((3, 500), -1.0, np.float32)
    scores[index % 3] = 3 + 0.3 * rng.random()
    return image, ids, scores


@pytest.fixture(scope="module")
def profile():
    rng, meter, signals = np.random.default_rng(0), SignalMeter(3), []
    signals = [meter.measure(*drive(index, rng)) for index in range(60)]
    return make_profile(signals, MANIFEST, SimpleNamespace(spec="drive", split="train"))


def replay(profile, change, seconds=4.0, start=0):
    """Returns the kinds of the notices with their seconds after the change."""
    monitor, rng, found = DriftMonitor(profile, MANIFEST), np.random.default_rng(1), []
    for index in range(start, round(seconds * FRAMES_PER_SECOND)):
        frame = drive(index, rng)
        if index >= 50:
            frame = change(*frame)
        notices = monitor.add(index / FRAMES_PER_SECOND, *frame)
        found += [(notice.kind, (index - 50 + 1) / FRAMES_PER_SECOND) for notice in notices]
    return found, monitor


def test_a_normal_drive_is_quiet(profile):
    found, monitor = replay(profile, lambda *frame: frame, seconds=20)
    assert found == []
    assert monitor.active == []


DISTURBANCES = {
    "too-dark": lambda image, ids, scores: ((0.2 * image).astype(np.uint8), ids, scores),
    "overexposed": lambda image, ids, scores: (np.minimum(5.0 * image, 255).astype(np.uint8), ids, scores),
    "blurred": lambda image, ids, scores: (cv2.GaussianBlur(image, (0, 0), 3), ids, scores),
    "color-shifted": lambda image, ids, scores: (np.ascontiguousarray(image[..., ::-1]), ids, scores),
    "scene-unlike-calibration": lambda image, ids, scores: (image // 3 + 90, ids, scores),
    "classes-unlike-calibration": lambda image, ids, scores: (image, np.full_like(ids, 2), scores),
    "low-confidence": lambda image, ids, scores: (image, ids, 0.3 * scores),
    "high-entropy": lambda image, ids, scores: (image, ids, 0.3 * scores),
    "flicker": lambda image, ids, scores: (image, (ids + image[0, 0, 0] % 3).astype(np.uint8) % 3, scores),
    "frozen-picture": lambda image, ids, scores: (np.full((180, 240, 3), 120, np.uint8), ids, scores),
}


@pytest.mark.parametrize("event", DISTURBANCES)
def test_each_disturbance_raises_its_event_within_two_seconds(profile, event):
    found, monitor = replay(profile, DISTURBANCES[event])
    moments = [moment for kind, moment in found if kind == event]
    assert len(moments) == 1
    assert 0 < moments[0] <= 2.0
    assert event in monitor.active
    assert monitor.state()[event].alarms == 1


def test_an_answer_that_is_wrong_on_a_good_picture_blames_only_the_answer(profile):
    found, _ = replay(profile, DISTURBANCES["classes-unlike-calibration"])
    assert [kind for kind, _ in found] == ["classes-unlike-calibration"]


def test_a_second_under_a_bridge_is_no_alarm_and_a_longer_one_ends_with_a_notice(profile):
    def dark_until(frame):
        count = iter(range(1000))

        def change(*found):
            return DISTURBANCES["too-dark"](*found) if next(count) < frame else found

        return change

    assert not [kind for kind, _ in replay(profile, dark_until(25), seconds=8)[0] if kind == "too-dark"]
    found, monitor = replay(profile, dark_until(75), seconds=10)
    dark = [(kind, moment) for kind, moment in found if kind.startswith("too-dark")]
    assert [kind for kind, _ in dark] == ["too-dark", "too-dark-ended"]
    assert 3.0 < dark[1][1] < 6.0
    assert monitor.active == []


def test_without_scores_confidence_is_not_judged(profile):
    found, monitor = replay(profile, lambda image, ids, _: (image, ids))
    assert found == []
    assert monitor.state()["low-confidence"].value is not None  # the last that was known


def test_events_tell_figures_and_the_class_to_blame(profile):
    monitor, rng, notices = DriftMonitor(profile, MANIFEST), np.random.default_rng(1), []
    for index in range(75):
        image, ids, scores = drive(index, rng)
        notices += monitor.add(index / FRAMES_PER_SECOND, image, np.full_like(ids, 2), scores)
    (notice,) = [found for found in notices if found.kind == "classes-unlike-calibration"]
    assert notice.severity == "alarm"
    assert "car fills 100 %" in notice.text
    assert notice.values["value"] > notice.values["bound"] > notice.values["normal"]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.event)
def test_bounds_lie_beyond_what_was_normal_even_if_nothing_ever_moved(kind):
    bound = learn_bound((0.5, 0.5, 0.5), kind)
    assert bound.beyond(0.5) is False
    assert bound.recovered(0.5) is True
    assert bound.recovered(bound.limit) is False
