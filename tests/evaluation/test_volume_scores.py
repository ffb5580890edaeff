from __future__ import annotations

import itertools

import numpy as np
import pytest
from volume_files import grid, scene, write_nifti, write_threshold_network

from jetseg.data.contract import VolumeScoring
from jetseg.data.dataset import Dataset, open_split
from jetseg.data.volumes.nifti_file import read_nifti
from jetseg.engine.accuracy_gate import AccuracyGate
from jetseg.engine.budget import volume_violations
from jetseg.engine.config import Budget
from jetseg.engine.engine import open_engine
from jetseg.errors import ConfigError
from jetseg.evaluation.surface_distance import count_lesions, surface_distances
from jetseg.evaluation.volumes import score_volume
from jetseg.input_spec import SliceSpec
from jetseg.measured import Accuracy, OrganScore, VolumeAccuracy
from jetseg.network import open_network
from jetseg.workflows.evaluating import evaluate

SPACING = (3.0, 0.8, 1.7)


def _blobs(seed: int, share: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.random((3, 4, 5)) < share
    return coarse.repeat(2, 0).repeat(3, 1).repeat(2, 2)


def _surface(mask: np.ndarray) -> np.ndarray:
    """Voxels with a neighbor outside, one by one; in millimeters."""
    padded = np.pad(mask, 1)
    found = []
    for place in np.argwhere(padded):
        around = [tuple(place + step) for step in np.vstack([np.eye(3, dtype=int), -np.eye(3, dtype=int)])]
        if not all(padded[neighbor] for neighbor in around):
            found.append((place - 1) * np.array(SPACING))
    return np.array(found)


@pytest.mark.parametrize("seed", range(6))
def test_surface_distances_are_those_of_brute_force(seed):
    one, other = _blobs(seed, 0.4), _blobs(seed + 100, 0.3)
    first, second = _surface(one), _surface(other)
    apart = np.linalg.norm(first[:, None] - second[None], axis=2)
    there, back = apart.min(axis=1), apart.min(axis=0)

    found = surface_distances(one, other, SPACING)
    np.testing.assert_allclose(np.sort(found.there), np.sort(there))
    np.testing.assert_allclose(np.sort(found.back), np.sort(back))
    assert found.hd95_mm == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)))
    near = (there < 1.71).sum() + (back < 1.71).sum()
    assert found.nsd(1.7) == pytest.approx(100 * near / (len(there) + len(back)))


def test_two_cubes_that_are_moved_by_known_millimeters():
    one, other = (np.zeros((12, 12, 12), bool) for _ in range(2))
    one[2:8, 2:8, 2:8], other[2:8, 2:8, 4:10] = True, True
    found = surface_distances(one, other, (1.0, 1.0, 2.0))

    assert found.hd95_mm == pytest.approx(4.0)
    assert surface_distances(one, one, SPACING).hd95_mm == 0
    assert found.nsd(4.0) == 100
    assert found.nsd(0.5) < 60


def test_the_surface_of_a_single_slice_is_its_outline():
    one, other = (np.zeros((1, 20, 20), bool) for _ in range(2))
    one[0, 2:18, 2:18], other[0, 2:18, 2:15] = True, True
    found = surface_distances(one, other, (50.0, 1.0, 1.0))

    assert (len(found.there), len(found.back)) == (60, 54)
    assert found.hd95_mm == pytest.approx(3.0)


def test_lesions_are_counted_one_by_one():
    truth, answer = (np.zeros((4, 10, 10), bool) for _ in range(2))
    truth[0, 1:3, 1:3] = truth[2, 7, 7] = truth[3, 8, 8] = True  # two, of which one by a corner
    truth[0, 0, 9] = True
    answer[0, 2:4, 2:4] = answer[0, 8, 0] = answer[3, 0, 5] = True
    assert count_lesions(truth, answer) == (1, 2, 2)


def _split(tmp_path, labels: np.ndarray, classes: str, more: str = ""):
    write_nifti(tmp_path / "a.nii.gz", scene(labels.shape))
    write_nifti(tmp_path / "labels.nii.gz", labels.astype(np.uint8))
    (tmp_path / "classes.yaml").write_text(
        f"classes: {classes}\nframes: {{low: 0, high: 255}}\n{more}\n"
        "volumes: [{image: a.nii.gz, labels: labels.nii.gz, split: val}]"
    )
    return open_split(f"nifti:{tmp_path}", "val")


def test_organs_are_scored_against_counts_by_hand(tmp_path):
    truth = np.zeros((6, 8, 10), np.uint8)
    answer = truth.copy()
    truth[1:4, 2:6, 2:6], answer[1:4, 2:6, 3:7] = 1, 1
    truth[5, 0, 0] = 2
    truth[0, 0, 0], answer[0, 0, 0] = 255, 1
    split = _split(tmp_path, truth, "[background, liver, tumor, lung]", "ignore_index: 255\nlesions: [tumor]")
    found = score_volume(truth, answer, split, SPACING)

    assert list(found) == ["liver", "tumor"]
    liver, tumor = found["liver"], found["tumor"]
    assert liver.dice == pytest.approx(75)
    assert liver.iou == pytest.approx(60)
    assert liver.volume_ml == pytest.approx(48 * 3 * 0.8 * 1.7 / 1000)
    assert liver.volume_error_ml == 0
    assert liver.hd95_mm == pytest.approx(1.7)
    assert (tumor.dice, tumor.nsd, tumor.lesions_missed, tumor.lesions_false) == (0, 0, 1, 0)
    assert tumor.hd95_mm == pytest.approx(np.linalg.norm(np.multiply(truth.shape, SPACING)))
    assert liver.lesions_missed is None


def test_a_network_is_scored_in_the_voxels_of_the_volume(tmp_path):
    ras = scene((10, 8, 6))
    labels = np.where(np.random.default_rng(5).random(ras.shape) < 0.9, ras > 127, ras <= 127)
    split = _split(tmp_path, labels, "[background, bright, bright before]", "tolerance_mm: 2.5\nlesions: [bright]")
    network = write_threshold_network(tmp_path, 8, 10)
    with open_engine(network) as engine:
        result = evaluate(engine, data=Dataset(f"nifti:{tmp_path}"))

    with open_engine(network) as engine:
        answer = np.stack([engine.segment(split[index].image_hwc_u8) for index in range(len(split))])
    truth = labels[::-1, ::-1].transpose(2, 1, 0)
    both = (truth & (answer == 1)).sum()
    organ = result.accuracy.volumes.organs["bright"]
    assert organ.dice == pytest.approx(200 * both / (truth.sum() + (answer == 1).sum()), abs=0.01)
    assert organ.dice == pytest.approx(result.accuracy.per_class_dice["bright"], abs=0.02)
    assert result.accuracy.volumes.tolerance_mm == 2.5
    assert result.cases[0].organs["bright"].hd95_mm == pytest.approx(organ.hd95_mm, abs=0.01)
    assert evaluate(network, data=f"nifti:{tmp_path}", frames=3).accuracy.volumes is None


def test_joined_splits_are_scored_as_the_volumes_of_each(tmp_path):
    ras = scene((10, 8, 6))
    labels = np.where(np.random.default_rng(5).random(ras.shape) < 0.9, ras > 127, ras <= 127)
    _split(tmp_path, labels, "[background, bright, bright before]")
    (tmp_path / "classes.yaml").write_text(
        "classes: [background, bright, bright before]\nframes: {low: 0, high: 255}\n"
        "volumes: [{image: a.nii.gz, labels: labels.nii.gz, slices: {val: [[0, 1]], test: [[2, 2], [4, 5]]}}]"
    )
    data, network = Dataset(f"nifti:{tmp_path}"), write_threshold_network(tmp_path, 8, 10)
    apart = [case for split in ("val", "test") for case in evaluate(network, data=data, split=split).cases]

    assert list(evaluate(network, data=data, split="val+test").cases) == apart
    joined = data.split("val+test").with_window(None)
    assert [joined.place_of(index) for index in range(5)] == [(0, 0), (0, 1), (1, 0), (2, 0), (2, 1)]
    joined.save(2, np.ones((2, 8, 10), np.uint8), tmp_path / "out.nii.gz")
    assert read_nifti(tmp_path / "out.nii.gz").values.sum(axis=(0, 1)).tolist() == [0, 0, 0, 0, 80, 80]


def _accuracy(dice: float, hd95_mm: float, missed: int) -> Accuracy:
    organ = OrganScore(
        cases=1, dice=dice, iou=50, hd95_mm=hd95_mm, nsd=90, volume_ml=1, volume_error_ml=0, lesions_found=3,
        lesions_missed=missed, lesions_false=0,
    )  # fmt: skip
    volumes = VolumeAccuracy(cases=1, tolerance_mm=3, organs={"liver": organ})
    return Accuracy(data="d", split="s", frames=1, miou=70, pixel_accuracy=None, per_class_iou={}, volumes=volumes)


def test_the_gate_goes_by_dice_millimeters_and_lesions():
    before, after = _accuracy(90, 3.0, 0), _accuracy(89.6, 3.5, 1)
    budget = Budget(task_drops={"dice": "0.3", "hd95_mm": "10%", "lesions_missed": "0", "nsd": "0"})

    assert volume_violations(Budget(), before, after) == ()
    assert volume_violations(budget, before, after) == (
        "dice got worse from 90.00 to 89.60 (by 0.40, allowed 0.30)",
        "hd95_mm got worse from 3.00 to 3.50 (by 0.50, allowed 0.30)",
        "lesions_missed got worse from 0.00 to 1.00 (by 1.00, allowed 0.00)",
    )
    assert volume_violations(budget, after, before) == ()


def test_metrics_of_volumes_need_volumes(tmp_path):
    labels = scene() > 127
    split = _split(tmp_path, labels, "[background, bright, bright before]")
    network = open_network(write_threshold_network(tmp_path, 8, 10))
    budget = Budget(task_drops={"hd95_mm": "0.5", "dice": "0.3"})

    gate = AccuracyGate(network, split, budget)
    assert gate.before.volumes.dice == pytest.approx(100)
    with pytest.raises(ConfigError, match="hd95_mm can only be measured on whole volumes"):
        AccuracyGate(network, split, budget, frames=2)
    for name, amount, message in (("dice", "much", "dice=much says no amount"), ("dise", "1", "dise is no metric")):
        with pytest.raises(ConfigError, match=message):
            AccuracyGate(network, split, Budget(task_drops={name: amount}))


def test_void_and_other_planes_and_grids_fit_together(tmp_path):
    """Whatever the plane and pixel size, what the labels say comes back as a perfect score where pixels are larger."""
    labels = (scene() > 127).repeat(2, 0).repeat(2, 1)
    whole = _split(tmp_path, labels, "[background, bright, bright before]")
    for axis, size in itertools.product(("coronal", "sagittal"), (12, 20)):
        split = whole.with_slices(SliceSpec(axis=axis, grid=grid(1.0 if size == 20 else 5.0, 64, 64)))
        for case in range(len(split.cases)):
            truth = split.labels_of(case)
            back = np.stack([split.restore(case, split[index].label_hw_u8) for index in range(len(split))])
            assert truth.shape == back.shape
            if size == 20:
                assert (truth == back).mean() > 0.9
    assert split.scoring == VolumeScoring()
