from types import SimpleNamespace

import numpy as np
import pytest
from camera_fakes import MANIFEST, FakeRunner

from jetseg.data.contract import Sample
from jetseg.data.corruptions import corrupt
from jetseg.errors import DataError
from jetseg.evaluation.estimator import EstimatingModel
from jetseg.evaluation.learning import WindowObserver, learn_estimator
from jetseg.postprocess import class_map


class Bands:
    """Frames of three colored bands with noise, labelled; the borders move from frame to frame."""

    spec, split, classes, palette, ignore_index = "bands:x", "train", MANIFEST.classes, MANIFEST.colors, 7

    def __init__(self, length, *, labelled=True):
        self._length, self._labelled = length, labelled

    def __len__(self):
        return self._length

    def __getitem__(self, index):
        rng = np.random.default_rng(index)
        borders = np.sort(rng.integers(4, 28, 2))
        ids = np.searchsorted(borders, np.arange(32), side="right").astype(np.uint8)[None].repeat(24, axis=0)
        image = 90 + 60 * np.eye(3)[ids] + rng.normal(0, 12, (24, 32, 3))
        label = np.where(rng.random(ids.shape) < 0.02, np.uint8(7), ids)
        return Sample(str(index), np.clip(image, 0, 255).astype(np.uint8), label if self._labelled else None)


class Colors(FakeRunner):
    """Takes the strongest color as the class, surer the more it stands out."""

    def infer(self, network_input):
        return super().infer(network_input) / 20


@pytest.fixture(scope="module")
def learned():
    return learn_estimator(Colors().infer, MANIFEST, Bands(60), frames=60)


@pytest.mark.long
def test_what_is_learned_holds_for_a_corruption_that_was_not_seen(learned):
    assert (learned.data, learned.split, learned.target, learned.window) == ("bands", "train", "labels", 30)
    assert learned.windows == 2 + 10 * 5
    model = EstimatingModel(learned, MANIFEST.classes)
    observer = WindowObserver(Colors().infer, MANIFEST, Bands(200))
    observer.temperature = learned.temperature

    def paler(image, kind, severity, seed):
        return np.clip(image.mean() + (image - image.mean()) / (1 + severity), 0, 255).astype(np.uint8)

    errors = []
    for severity in (0, 1, 2, 3):
        window = observer.observe(range(100, 130), "paler", severity, paler)
        errors.append(abs(model.estimate(window.evidence).miou.value - window.score.miou))
    assert np.mean(errors) < 8


def test_the_network_sees_each_frame_as_it_is_once_and_each_corrupted_one_once():
    class Counting(Colors):
        runs = 0

        def infer(self, network_input):
            self.runs += 1
            return super().infer(network_input)

    runner = Counting()
    learn_estimator(runner.infer, MANIFEST, Bands(60), frames=60)
    assert runner.runs == 60 + 10 * 5 * 30


def test_what_was_seen_before_the_temperature_was_known_is_the_same_evidence(learned):
    fresh, known = (WindowObserver(Colors().infer, MANIFEST, Bands(60)) for _ in range(2))
    known.fit_temperature(range(30))
    fresh.temperature = known.temperature
    one, other = (observer.observe(range(30), "clean", 0) for observer in (fresh, known))
    assert one.score == other.score
    np.testing.assert_array_equal(one.evidence.sure, other.evidence.sure)
    np.testing.assert_array_equal(one.evidence.edges, other.evidence.edges)


def test_without_labels_the_parent_says_what_is_right():
    runner = Colors()
    parent = lambda image: class_map(runner.infer(image.transpose(2, 0, 1)[None].astype(np.float32)), MANIFEST)  # noqa: E731
    observer = WindowObserver(runner.infer, MANIFEST, Bands(60, labelled=False), parent)
    clean = observer.observe(range(30), "clean", 0)
    assert clean.score.miou == 100
    assert observer.observe(range(30), "noise", 5).score.miou < 90
    with pytest.raises(DataError, match="has no label"):
        WindowObserver(runner.infer, MANIFEST, Bands(60, labelled=False)).observe(range(30), "clean", 0)


def test_too_few_frames_or_nothing_to_learn_from_give_no_estimator():
    assert learn_estimator(Colors().infer, MANIFEST, Bands(59)) is None
    assert learn_estimator(Colors().infer, MANIFEST, Bands(60, labelled=False)) is None


def test_the_corruption_is_the_one_asked_for_at_the_size_of_the_network():
    seen = []
    runner = SimpleNamespace(infer=lambda values: seen.append(values) or values)
    WindowObserver(runner.infer, MANIFEST, Bands(3)).observe([2], "fog", 4)
    wanted = corrupt(Bands(3)[2].image_hwc_u8, "fog", 4, 2).transpose(2, 0, 1)[None]
    assert np.array_equal(seen[0], wanted.astype(np.float32))
