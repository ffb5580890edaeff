import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassJaccardIndex

from jetseg.errors import DataError
from jetseg.evaluation import confusion
from jetseg.evaluation.confusion import ConfusionMatrix


def random_frames(classes: int, ignore: int, void: bool, count: int = 3):
    """Label and prediction pairs in which every id occurs, the ignored one in the labels only."""
    generator = np.random.default_rng(classes)
    for _ in range(count):
        label = generator.integers(0, classes, (23, 31), dtype=np.uint8)
        label[generator.random(label.shape) < 0.2] = ignore
        prediction = generator.integers(0, classes + void, (23, 31), dtype=np.uint8)
        right = (generator.random(label.shape) < 0.6) & (label < classes)
        yield label, np.where(right, label, prediction)


def brute_force_iou(frames, classes: int, ignore: int) -> list[float | None]:
    hits, union = [0] * classes, [0] * classes
    for label, prediction in frames:
        for truth, said in zip(label.ravel().tolist(), prediction.ravel().tolist(), strict=True):
            if truth == ignore:
                continue
            for index in range(classes):
                hits[index] += truth == index == said
                union[index] += index in {truth, said}
    return [100 * hit / total if total else None for hit, total in zip(hits, union, strict=True)]


@pytest.mark.parametrize(("classes", "ignore"), [(1, 255), (4, 4), (11, 11), (5, 255), (6, 0)])
def test_equals_brute_force(classes, ignore):
    frames = list(random_frames(classes, ignore, void=True))
    matrix = ConfusionMatrix([str(index) for index in range(classes)], ignore)
    for label, prediction in frames:
        matrix.update(label, prediction)
    score = matrix.score()
    expected = brute_force_iou(frames, classes, ignore)
    assert list(score.per_class_iou.values()) == pytest.approx(expected)
    assert score.miou == pytest.approx(np.mean([value for value in expected if value is not None]))
    scored = [(label != ignore, label == prediction) for label, prediction in frames]
    right = sum((known & same).sum() for known, same in scored)
    assert score.pixel_accuracy == pytest.approx(100 * right / sum(known.sum() for known, _ in scored))
    assert score.frames == 3


def test_equals_torchmetrics():
    frames = list(random_frames(19, 255, void=False))
    matrix = ConfusionMatrix([str(index) for index in range(19)], 255)
    reference = MulticlassJaccardIndex(19, average=None, ignore_index=255)
    for label, prediction in frames:
        matrix.update(label, prediction)
        reference.update(torch.from_numpy(prediction).long(), torch.from_numpy(label).long())
    expected = 100 * reference.compute().double().numpy()
    score = matrix.score()
    np.testing.assert_allclose(list(score.per_class_iou.values()), expected, rtol=1e-6)
    assert score.miou == pytest.approx(expected.mean(), rel=1e-6)


def test_it_is_one_matrix_and_not_a_mean_over_frames():
    matrix = ConfusionMatrix(["a", "b"], None)
    matrix.update(np.zeros((1, 9), np.uint8), np.zeros((1, 9), np.uint8))
    matrix.update(np.array([[1]], np.uint8), np.array([[0]], np.uint8))
    assert matrix.score().per_class_iou == {"a": 90.0, "b": 0.0}
    assert matrix.score().miou == 45.0


def test_a_void_prediction_is_an_error_of_the_labels_class_alone():
    matrix = ConfusionMatrix(["a", "b"], 255)
    matrix.update(np.array([[0, 0, 1, 255]], np.uint8), np.array([[0, 2, 1, 2]], np.uint8))
    assert matrix.score().per_class_iou == {"a": 50.0, "b": 100.0}
    assert matrix.counts.tolist() == [[1, 0, 1], [0, 1, 0]]


def test_a_class_that_never_occurs_has_no_iou_and_does_not_count():
    matrix = ConfusionMatrix(["a", "b", "c"], None)
    matrix.update(np.array([[0, 1]], np.uint8), np.array([[0, 0]], np.uint8))
    score = matrix.score()
    assert score.per_class_iou == {"a": 50.0, "b": 0.0, "c": None}
    assert score.miou == 25.0


def test_no_frames_and_nothing_labelled_have_no_score():
    matrix = ConfusionMatrix(["a"], 255)
    assert matrix.score().miou is None
    matrix.update(np.full((2, 2), 255, np.uint8), np.zeros((2, 2), np.uint8))
    assert (matrix.score().miou, matrix.score().pixel_accuracy, matrix.score().frames) == (None, None, 1)


def test_label_ids_that_mean_nothing_are_named():
    matrix = ConfusionMatrix(["a", "b"], 11)
    with pytest.raises(DataError, match=r"Label id 7 is neither one of the 2 classes \(0 to 1\)"):
        matrix.update(np.array([[0, 7]], np.uint8), np.array([[0, 0]], np.uint8))
    assert matrix.frames == 0
    assert not matrix.counts.any()


def test_different_shapes_are_refused():
    with pytest.raises(DataError, match=r"\(2, 3\).*\(3, 2\)"):
        ConfusionMatrix(["a"], None).update(np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8))


def test_counts_stay_exact_where_float32_would_not(monkeypatch: pytest.MonkeyPatch):
    # the histogram counts in float32; a small limit makes it work in strips, as huge frames do
    monkeypatch.setattr(confusion, "_EXACT_FLOAT32_COUNT", 64)
    label = np.random.default_rng(0).integers(0, 3, (40, 30), dtype=np.uint8)
    matrix = ConfusionMatrix(["a", "b", "c"], None)
    matrix.update(label, label)
    assert np.diagonal(matrix.counts).tolist() == np.bincount(label.ravel()).tolist()


def test_views_are_counted_like_copies():
    label = np.random.default_rng(0).integers(0, 3, (12, 10), dtype=np.uint8)
    whole, view = (ConfusionMatrix(["a", "b", "c"], None) for _ in range(2))
    whole.update(label[::2, ::-1].copy(), label[1::2].copy())
    view.update(label[::2, ::-1], label[1::2])
    np.testing.assert_array_equal(whole.counts, view.counts)
