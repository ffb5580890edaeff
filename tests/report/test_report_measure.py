import numpy as np
import pytest

from jetseg.errors import DataError
from jetseg.evaluation.accuracy import measure_accuracy
from jetseg.evaluation.confusion import ConfusionMatrix
from jetseg.report.measure import JointScores, choose_examples, score_together


def scores(*agreement: tuple[float, ...], networks: int = 2) -> JointScores:
    frames = tuple(range(100, 100 + len(agreement[0])))
    return JointScores(frames, tuple(ConfusionMatrix(["a"], None) for _ in range(networks)), agreement)


def test_one_pass_scores_as_each_network_alone(entries, dataset):
    together = score_together(entries, dataset)
    for entry, matrix in zip(entries, together.confusion, strict=True):
        alone = measure_accuracy(entry.engine.segment, entry.engine.manifest, dataset)
        assert matrix.score() == alone


def test_agreement_is_the_share_of_equal_pixels(entries, dataset):
    together = score_together(entries, dataset, frames=3)
    assert len(together.frames) == 3
    segmenters = [entry.engine.segment for entry in entries]
    for index, percent in zip(together.frames, together.agreement[0], strict=True):
        first, second = (segment(dataset[index].image_hwc_u8) for segment in segmenters)
        assert percent == pytest.approx(100 * np.mean(first == second))


def test_a_single_network_is_compared_with_the_labels(entries, dataset):
    alone = score_together(entries[:1], dataset)
    assert np.mean(alone.agreement) == pytest.approx(alone.confusion[0].score().pixel_accuracy)


def test_examples_are_extremes_that_lie_apart_and_then_a_typical_frame():
    agreement = [90.0] * 40
    agreement[20], agreement[21], agreement[5] = 40.0, 41.0, 50.0
    chosen = choose_examples(scores(tuple(agreement)), 3)
    assert chosen[:2] == [(120, "largest disagreement"), (105, "largest disagreement")]
    assert chosen[2][1] == "a typical frame"
    assert agreement[chosen[2][0] - 100] == 90.0


def test_the_pair_that_agrees_least_decides():
    chosen = choose_examples(scores((90.0, 80.0, 95.0), (90.0, 85.0, 20.0), networks=3), 2)
    assert chosen[0][0] == 102


@pytest.mark.parametrize(("frames", "count", "expected"), [(1, 3, 1), (2, 3, 2), (9, 1, 1), (9, 0, 0)])
def test_few_frames_and_few_examples(frames, count, expected):
    chosen = choose_examples(scores(tuple(np.linspace(50, 60, frames))), count)
    assert len({index for index, _ in chosen}) == len(chosen) == expected


def test_other_classes_are_refused(entries, dataset):
    dataset.classes = ("road", "sky", "car")
    with pytest.raises(DataError, match="road, car, sky; those of folder:"):
        score_together(entries, dataset)


def test_frames_without_labels_are_refused(entries, dataset, tmp_path):
    for label in (tmp_path / "data" / "labels").iterdir():
        label.unlink()
    with pytest.raises(DataError, match="label"):
        score_together(entries, dataset)
