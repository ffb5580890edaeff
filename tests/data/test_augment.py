from __future__ import annotations

import cv2
import numpy as np
import pytest

from jetseg.config import validate_config
from jetseg.data.augment import AugmentConfig, augment
from jetseg.errors import ConfigError

STILL = {"scale": (1.0, 1.0), "horizontal_flip": 0.0, "brightness": 0.0, "contrast": 0.0, "saturation": 0.0}


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    """Gives a frame whose colors say the label everywhere: blocks of 8 x 8 pixels."""
    ids = np.random.default_rng(0).integers(0, 5, (6, 10), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    return np.dstack([ids * 40 + 20] * 3), ids


def test_without_changes_the_frame_comes_back(pair) -> None:
    image, label = augment(*pair, AugmentConfig(crop=(48, 80), **STILL), np.random.default_rng(1), ignore_index=255)

    assert np.array_equal(image, pair[0])
    assert np.array_equal(label, pair[1])
    assert not np.shares_memory(image, pair[0])
    assert not np.shares_memory(label, pair[1])


@pytest.mark.parametrize("ignore_index", [255, None])
@pytest.mark.parametrize("scale", [(0.3, 0.5), (0.5, 2.0), (1.7, 2.0)])
def test_label_follows_the_image(pair, scale: tuple[float, float], ignore_index: int | None) -> None:
    config = AugmentConfig(**{**STILL, "crop": (40, 64), "scale": scale, "horizontal_flip": 0.5})
    agreement = []
    for seed in range(20):
        image, label = augment(*pair, config, np.random.default_rng(seed), ignore_index=ignore_index)
        assert image.shape == (40, 64, 3)
        assert label.shape == (40, 64)
        assert image.flags.c_contiguous
        assert label.flags.c_contiguous
        assert set(np.unique(label)) <= {0, 1, 2, 3, 4} | ({255} if ignore_index else set())
        scored = label != 255
        agreement.append((np.abs(image[..., 0].astype(int) - (label * 40.0 + 20))[scored] < 20).mean())
    # pixels at the edges of blocks are blends of two colors
    assert np.mean(agreement) > 0.8


def test_padding_is_mean_color_and_ignored(pair) -> None:
    config = AugmentConfig(crop=(60, 100), **STILL)
    image, label = augment(*pair, config, np.random.default_rng(3), ignore_index=9)

    assert (label == 9).sum() == 60 * 100 - 48 * 80
    assert np.abs(image[label == 9].astype(float) - pair[0].mean()).max() < 1


def test_flip_is_a_mirror_and_can_be_turned_off(pair) -> None:
    config = AugmentConfig(crop=(48, 80), **{**STILL, "horizontal_flip": 1.0})
    image, label = augment(*pair, config, np.random.default_rng(0), ignore_index=None)

    assert np.array_equal(image, pair[0][:, ::-1])
    assert np.array_equal(label, pair[1][:, ::-1])


def test_colors_change_but_not_the_label(pair) -> None:
    frame = np.random.default_rng(5).integers(60, 190, (*pair[1].shape, 3), dtype=np.uint8)
    strong = {
        "brightness": 0.4,
        "contrast": 0.4,
        "saturation": 0.6,
        "hue_degrees": 60,
        "blur": 1.0,
        "noise": 8,
    }
    config = AugmentConfig(crop=(48, 80), **{**STILL, **strong})
    image, label = augment(frame, pair[1], config, np.random.default_rng(0), ignore_index=255)

    assert np.array_equal(label, pair[1])
    assert (image != frame).mean() > 0.9


def test_hue_turns_a_third_of_the_circle() -> None:
    """Blue turned by 120 degrees is green or red, by the axis of the turn."""

    class Fixed:
        def random(self) -> float:
            return 1.0

        def uniform(self, *bounds: float) -> float:
            return bounds[1]

        def integers(self, *_: int) -> int:
            return 0

    config = AugmentConfig(**{**STILL, "crop": (1, 1), "hue_degrees": 120})
    blue = np.array([[[200, 50, 50]]], np.uint8)
    image, _ = augment(blue, np.zeros((1, 1), np.uint8), config, Fixed(), ignore_index=None)  # type: ignore[arg-type]
    assert sorted(image.ravel().tolist()) == [50, 50, 200]
    assert image[0, 0, 0] == 50


def test_gray_stays_gray_under_saturation_and_hue() -> None:
    config = AugmentConfig(**{**STILL, "crop": (4, 4), "saturation": 0.9, "hue_degrees": 180})
    gray = np.full((4, 4, 3), 123, np.uint8)
    image, _ = augment(gray, np.zeros((4, 4), np.uint8), config, np.random.default_rng(0), ignore_index=None)
    assert np.abs(image.astype(int) - 123).max() <= 1


def test_contrast_keeps_the_mean_and_brightness_scales_it() -> None:
    frame = np.random.default_rng(1).integers(90, 110, (64, 64, 3), dtype=np.uint8)
    label = np.zeros((64, 64), np.uint8)
    means, spreads = [], []
    for seed in range(6):
        config = AugmentConfig(**{**STILL, "crop": (64, 64), "contrast": 0.5})
        image, _ = augment(frame, label, config, np.random.default_rng(seed), ignore_index=None)
        means.append(image.mean())
        spreads.append(image.std())
    assert np.abs(np.array(means) - frame.mean()).max() < 1
    assert max(spreads) > 1.2 * min(spreads)


def test_same_generator_same_result_and_nothing_global(pair) -> None:
    config = AugmentConfig(crop=(32, 32), blur=0.5, noise=5, hue_degrees=10)
    np.random.seed(0)
    first = augment(*pair, config, np.random.default_rng(7), ignore_index=255)
    cv2.setRNGSeed(99)
    second = augment(*pair, config, np.random.default_rng(7), ignore_index=255)
    third = augment(*pair, config, np.random.default_rng(8), ignore_index=255)

    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])
    assert not np.array_equal(first[0], third[0])


def test_wrong_settings_are_told_together() -> None:
    with pytest.raises(ConfigError) as caught:
        validate_config(AugmentConfig, {"crop": (0, 4), "horizontal_flip": 2, "scales": (1, 2)})
    for key in ("crop.0", "horizontal_flip", "scales"):
        assert key in str(caught.value)
    with pytest.raises(ConfigError, match="smaller number first"):
        validate_config(AugmentConfig, {"crop": (4, 4), "scale": (2, 1)})


def test_gamma_bends_gray_levels_between_black_and_white() -> None:
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    config = AugmentConfig(crop=(1, 256), gamma=1.0, **STILL)
    label = np.zeros((1, 256), np.uint8)
    bent = [augment(ramp, label, config, np.random.default_rng(seed), ignore_index=255)[0] for seed in range(20)]
    middle = [int(image[0, 128, 0]) for image in bent]
    assert all(image[0, 0, 0] == 0 and image[0, 255, 0] == 255 for image in bent)
    assert all(np.all(np.diff(image[0, :, 0].astype(int)) >= 0) for image in bent)
    # 255 * (128 / 255) ** 2 = 64, ** 0.5 = 181
    assert 64 <= min(middle) < 100
    assert 150 < max(middle) <= 181
