import numpy as np
import pytest

from jetseg.config import changed
from jetseg.errors import ManifestError
from jetseg.input_spec import InputSpec
from jetseg.manifest import Manifest
from jetseg.postprocess import argmax_channels, class_map, class_scores, resize_class_map


def manifest(kind: str = "logits", classes: int = 3) -> Manifest:
    return Manifest(
        classes=tuple(f"class {index}" for index in range(classes)),
        input=InputSpec(height=5, width=7),
    ).with_output(kind=kind)


@pytest.mark.parametrize("channels", [1, 2, 19, 255])
def test_argmax_equals_numpy_ties_included(channels):
    # few distinct values, so that most pixels tie
    scores = np.random.default_rng(channels).integers(-2, 3, (channels, 11, 13)).astype(np.float32)
    np.testing.assert_array_equal(argmax_channels(scores), scores.argmax(axis=0))


def test_argmax_of_half_precision_and_of_a_transposed_view():
    scores = np.random.default_rng(0).normal(size=(6, 8, 4)).astype(np.float16).transpose(2, 0, 1)
    np.testing.assert_array_equal(argmax_channels(scores), scores.argmax(axis=0))


def test_argmax_leaves_its_input_alone():
    scores = np.random.default_rng(0).normal(size=(4, 6, 8)).astype(np.float32)
    before = scores.copy()
    argmax_channels(scores)
    np.testing.assert_array_equal(scores, before)


def test_channels_beyond_the_classes_are_void():
    logits = np.zeros((1, 5, 1, 3), np.float32)
    for column, channel in enumerate((1, 3, 4)):
        logits[0, channel, 0, column] = 1
    assert class_map(logits, manifest()).tolist() == [[1, 3, 3]]


@pytest.mark.parametrize("shape", [(1, 2, 3), (1, 1, 2, 3)])
def test_a_class_map_is_passed_on_and_strange_ids_are_void(shape):
    ids = np.array([0, 1, 2, 3, 200, 255], np.uint8).reshape(shape)
    assert class_map(ids, manifest("classmap")).tolist() == [[0, 1, 2], [3, 3, 3]]


@pytest.mark.parametrize("shape", [(1, 2, 4, 4), (2, 3, 4, 4), (3, 4, 4)])
def test_logits_of_another_shape_are_refused_with_both_shapes(shape):
    with pytest.raises(ManifestError) as caught:
        class_map(np.zeros(shape, np.float32), manifest())
    assert str(list(shape)) in str(caught.value)
    assert "[1, 3 or more, height, width]" in str(caught.value)


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint16])
def test_ids_of_wider_types_do_not_wrap_around(dtype):
    ids = np.array([[0, 2, 256], [257, 1000, 1]], dtype)[None]
    assert class_map(ids, manifest("classmap")).tolist() == [[0, 2, 3], [3, 3, 1]]
    if np.dtype(dtype).kind == "i":
        assert class_map(-ids, manifest("classmap")).tolist() == [[0, 3, 3], [3, 3, 3]]


def test_channels_that_come_last_give_the_same_class_map():
    logits = np.random.default_rng(0).normal(size=(1, 4, 5, 7)).astype(np.float32)
    expected = class_map(logits, manifest())
    nhwc = manifest().changed(outputs=(changed(manifest().output, layout="nhwc"),))
    np.testing.assert_array_equal(class_map(np.moveaxis(logits, 1, 3).copy(), nhwc), expected)


def binary(**output: object) -> Manifest:
    return Manifest(input=InputSpec(height=5, width=7), outputs=({"classes": ("no", "yes"), **output},))


@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.83])
def test_one_channel_decides_by_its_sigmoid(threshold):
    logits = np.random.default_rng(0).normal(0, 3, size=(1, 1, 5, 7)).astype(np.float32)
    probabilities = 1 / (1 + np.exp(-logits[0, 0].astype(np.float64)))
    expected = (probabilities > threshold).astype(np.uint8)
    assert 0 < expected.sum() < expected.size
    found = class_map(logits, binary(activation="sigmoid", threshold=threshold))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)
    given = probabilities[None, None].astype(np.float32)
    np.testing.assert_array_equal(class_map(given, binary(activation="none", threshold=threshold)), expected)


@pytest.mark.parametrize("activation", ["sigmoid", "none"])
def test_the_softmax_of_class_scores_are_the_probabilities(activation):
    probabilities = np.random.default_rng(0).uniform(0.01, 0.99, (1, 40))
    given = np.log(probabilities / (1 - probabilities)) if activation == "sigmoid" else probabilities
    scores = np.exp(class_scores(given, binary(activation=activation).output))
    np.testing.assert_allclose(scores[1] / scores.sum(axis=0), probabilities[0], rtol=1e-9)


def test_class_maps_are_resized_without_new_ids():
    ids = np.array([[0, 9], [200, 3]], np.uint8)
    grown = resize_class_map(ids, 4, 6)
    np.testing.assert_array_equal(grown, np.kron(ids, np.ones((2, 3), np.uint8)))
    assert resize_class_map(ids, 2, 2) is ids
