import cv2
import numpy as np
import pytest

from jetseg.evaluation.signals import SignalMeter, doubt_and_entropy, grid_scores


def scene(seed=0, height=180, width=240):
    """Soft blobs with fine texture."""
    rng = np.random.default_rng(seed)
    blobs = cv2.resize(rng.integers(40, 216, (12, 16, 3), dtype=np.uint8), (width, height)).astype(np.int16)
    return np.clip(blobs + rng.integers(-20, 21, (height, width, 1)), 0, 255).astype(np.uint8)


IDS = np.zeros((90, 120), np.uint8)


def measure(image, ids=IDS, scores=None):
    return SignalMeter(3).measure(image, ids, scores)


def test_brightness_and_clipping_are_those_of_the_gray_picture():
    image = np.full((180, 240, 3), 100, np.uint8)
    image[:90] = 255
    found = measure(image)
    assert found.brightness == pytest.approx((100 + 255) / 2, abs=0.5)
    assert found.clipped == pytest.approx(0.5)


def test_sharpness_falls_with_blur_and_hardly_with_darkness():
    image = scene()
    plain = measure(image).sharpness
    blurred = [measure(cv2.GaussianBlur(image, (0, 0), sigma)).sharpness for sigma in (0.5, 1.0, 2.0, 8.0)]
    assert plain - 0.3 > blurred[0] > blurred[1] + 0.3 > blurred[2] + 0.6
    assert blurred[3] < plain - 1
    assert measure((image * 0.5).astype(np.uint8)).sharpness == pytest.approx(plain, abs=0.1)


def test_swapped_channels_mirror_the_color_balance():
    image = scene()
    plain, swapped = measure(image).colors, measure(np.ascontiguousarray(image[..., ::-1])).colors
    assert swapped[0::2] == pytest.approx(-plain[0::2], abs=1e-6)
    assert swapped[1::2] == pytest.approx(plain[1::2], abs=1e-6)
    assert np.abs(plain).max() > 0.01


def test_class_shares_count_void_last():
    ids = np.repeat(np.array([0, 1, 3], np.uint8), [45, 27, 18])[:, None].repeat(120, 1)
    assert measure(scene(), ids).class_shares.tolist() == [0.5, 0.3, 0, 0.2]


def test_doubt_and_entropy_equal_brute_force():
    scores = np.random.default_rng(1).normal(0, 3, (5, 40))
    probabilities = np.exp(scores) / np.exp(scores).sum(0)
    entropy = -(probabilities * np.log(probabilities)).sum(0).mean() / np.log(5)
    assert doubt_and_entropy(scores) == pytest.approx((1 - probabilities.max(0).mean(), entropy))


def test_grid_scores_are_a_copy_of_some_pixels():
    output = np.random.default_rng(0).normal(size=(1, 4, 200, 300)).astype(np.float32)
    found = grid_scores(output)
    assert found.shape == (4, 50 * 75)
    assert found[2, 0] == output[0, 2, 2, 2]
    assert not np.shares_memory(found, output)


def test_flicker_counts_only_where_the_picture_stays():
    meter, image, ids = SignalMeter(3), scene(), IDS.copy()
    first = meter.measure(image, ids)
    assert (first.flicker, first.motion) == (None, None)
    changed, other = image.copy(), ids.copy()
    changed[:90] = np.maximum(changed[:90], 60) - 60
    other[:45] = 1  # explained: there the picture changed too
    other[45:54] = 2  # a fifth of the still half
    found = meter.measure(changed, other)
    assert found.flicker == pytest.approx(0.2, abs=0.05)
    assert found.motion > 5
    assert meter.measure(255 - changed, ids).flicker is None  # nothing is as before
    same = meter.measure(255 - changed, ids)
    assert (same.flicker, same.motion) == (0, 0)


@pytest.mark.parametrize("size", [(360, 480), (1080, 1920), (24, 32)])
def test_a_frame_of_any_size_gives_about_the_same(size):
    reference = measure(scene())
    found = measure(cv2.resize(scene(), size[::-1], interpolation=cv2.INTER_AREA))
    assert found.brightness == pytest.approx(reference.brightness, abs=2)
    assert found.colors == pytest.approx(reference.colors, abs=0.02)
    assert np.isfinite(found.scene).all()
