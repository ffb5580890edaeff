from __future__ import annotations

import numpy as np
import pytest

from jetseg.data.dataset import open_split
from jetseg.data.synthetic import CLASSES, SyntheticDrive
from jetseg.data.synthetic.camera import HEIGHT, WIDTH, Camera
from jetseg.data.synthetic.classes import Class
from jetseg.data.synthetic.roads import SyntheticSplit


def test_frame_depends_on_seed_and_index_alone() -> None:
    drive = SyntheticDrive(5)
    forward = [drive.frame(index) for index in (0, 1, 300)]
    backward = [SyntheticDrive(5).frame(index) for index in (300, 1, 0)][::-1]

    for one, other in zip(forward, backward, strict=True):
        assert one.name == other.name
        assert np.array_equal(one.image_hwc_u8, other.image_hwc_u8)
        assert one.label_hw_u8 is not None
        assert other.label_hw_u8 is not None
        assert np.array_equal(one.label_hw_u8, other.label_hw_u8)
    assert not np.array_equal(forward[0].image_hwc_u8, forward[1].image_hwc_u8)
    assert not np.array_equal(forward[0].image_hwc_u8, SyntheticDrive(6).frame(0).image_hwc_u8)


def test_global_random_state_is_neither_used_nor_touched() -> None:
    np.random.seed(1)
    before = np.random.get_state()[1].copy()
    SyntheticDrive(9).frame(3)
    assert np.array_equal(before, np.random.get_state()[1])


def test_every_pixel_has_a_class_and_every_class_is_in_the_test_drives() -> None:
    dataset = open_split("synthetic", "test")
    counts = np.zeros(256, dtype=np.int64)
    for index in range(0, len(dataset), 4):
        sample = dataset[index]
        assert sample.image_hwc_u8.shape == (192, 320, 3)
        assert sample.label_hw_u8 is not None
        assert sample.image_hwc_u8.dtype == sample.label_hw_u8.dtype == np.uint8
        counts += np.bincount(sample.label_hw_u8.ravel(), minlength=256)

    assert counts[len(CLASSES) :].sum() == 0
    assert (counts[: len(CLASSES)] / counts.sum()).min() > 0.004


def test_splits_share_no_drive_and_have_their_lengths() -> None:
    splits = [SyntheticSplit("synthetic:5000", split, 5000) for split in ("train", "val", "test")]
    drives = [{split.place(index)[0] for index in range(len(split))} for split in splits]

    assert not drives[0] & drives[1]
    assert not drives[0] & drives[2]
    assert not drives[1] & drives[2]
    assert [len(open_split("synthetic", split)) for split in ("train", "val", "test")] == [600, 60, 120]
    assert [len(open_split("synthetic:7", split)) for split in ("train", "val", "test")] == [7, 7, 7]


def test_names_are_unique_and_indices_checked() -> None:
    dataset = open_split("synthetic:6", "train")

    assert len({dataset[index].name for index in range(6)}) == 6
    assert dataset[-1].name == dataset[5].name
    for index in (6, -7):
        with pytest.raises(IndexError):
            dataset[index]


def test_test_drive_moves_smoothly() -> None:
    """Frames that follow each other are much more alike than frames of another drive."""
    dataset = open_split("synthetic", "test")
    labels = [dataset[index].label_hw_u8 for index in (0, 1, 2, 40)]
    agreement = [float((labels[0] == other).mean()) for other in labels[1:]]

    assert agreement[0] > 0.85
    assert agreement[0] > agreement[1] > agreement[2]


def test_color_alone_does_not_tell_the_class() -> None:
    """The best guess by color, learned on other drives, is far from the labels."""
    train, test = open_split("synthetic:60", "train"), open_split("synthetic:40", "test")
    votes = np.zeros((4096, len(CLASSES)), dtype=np.int64)

    def bins(image: np.ndarray) -> np.ndarray:
        high = (image >> 4).astype(np.int64)
        return (high[..., 0] * 16 + high[..., 1]) * 16 + high[..., 2]

    for index in range(0, 60, 2):
        sample = train[index]
        np.add.at(votes, (bins(sample.image_hwc_u8), sample.label_hw_u8), 1)
    guess = votes.argmax(axis=1).astype(np.uint8)
    matrix = np.zeros((len(CLASSES), len(CLASSES)), dtype=np.int64)
    for index in range(0, 40, 4):
        sample = test[index]
        np.add.at(matrix, (sample.label_hw_u8, guess[bins(sample.image_hwc_u8)]), 1)
    hits = np.diag(matrix)
    iou = hits / np.maximum(matrix.sum(0) + matrix.sum(1) - hits, 1)
    assert iou.mean() < 0.35


def test_ground_rays_are_the_inverse_of_projection() -> None:
    camera = Camera(300.0, (1.5, 1.4, 200.0), yaw=0.1, pitch=0.03, roll=0.01)
    right, ahead, depth = camera.ground(120)
    row, column = 30, 250
    assert np.isfinite(depth[row, column])
    world = np.array([[right[row, column], 0.0, ahead[row, column]]], dtype=np.float64)
    pixel = camera.project(camera.view(world))[0]
    spot = camera.spot(*world[0].tolist())

    assert pixel == pytest.approx([column, 120 + row], abs=1e-2)
    assert spot[:2] == pytest.approx(pixel.tolist(), abs=1e-6)
    assert right.shape == (HEIGHT - 120, WIDTH)


def test_labels_belong_to_what_is_painted() -> None:
    """At the edge of road and marking the picture changes where the label does."""
    edges, flats = [], []
    for seed in range(8):
        sample = SyntheticDrive(seed).frame(0)
        label, gray = sample.label_hw_u8, sample.image_hwc_u8.astype(float).mean(axis=2)
        low = slice(130, 185)
        step = np.abs(np.diff(gray[low], axis=1))
        pair = np.stack([label[low, :-1], label[low, 1:]])
        edge = (pair == Class.ROAD).any(axis=0) & (pair == Class.LANE_MARKING).any(axis=0)
        flat = (pair == Class.ROAD).all(axis=0)
        edges += step[edge].tolist()
        flats += step[flat].tolist()
    assert np.median(edges) > 5 * np.median(flats)
