import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from camera_fakes import ANY_SPEED, MANIFEST, FakeSource

from jetseg.camera.contract import SourceFrame
from jetseg.camera.loop import new_statistics
from jetseg.camera.sinks.collect import Collection, RatedResult, open_collection
from jetseg.data.dataset import open_split
from jetseg.errors import ConfigError
from jetseg.monitor.events import EventLog
from jetseg.monitor.worth import FrameWorth
from jetseg.workflows.driving import run_camera


def rated(number, score, place, image=None):
    image = np.full((48, 64, 3), number % 256, np.uint8) if image is None else image
    frame = SourceFrame(number, f"f{number}", 0.0, image, None)
    worth = FrameWorth(score, {"doubt": score}, np.array(place, dtype=float))
    statistics = new_statistics(None, FakeSource(1), engine=ANY_SPEED)
    return RatedResult(frame, np.full((24, 32), 1, np.uint8), 0.0, None, statistics, worth=worth)


def kept(folder: Path) -> list[int]:
    return sorted(int(path.stem[-8:]) for path in (folder / "images").iterdir())


@pytest.fixture
def collection(tmp_path):
    return Collection(tmp_path / "c", 10**9, MANIFEST, "drive.mp4", most=3)


def test_what_is_kept_is_a_dataset_with_the_class_map_and_the_reasons(collection, tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    collection.write(rated(5, 0.5, [0, 0], image))
    split = open_split(f"folder:{tmp_path / 'c'}", "all")
    assert split.classes == MANIFEST.classes
    assert np.array_equal(split[0].image_hwc_u8, image)
    assert split[0].label_hw_u8 is None
    ids = cv2.imread(str(next((tmp_path / "c" / "predictions").iterdir())), cv2.IMREAD_UNCHANGED)
    assert ids.shape == (48, 64)
    assert (ids == 1).all()
    told = json.loads(next((tmp_path / "c" / "reasons").iterdir()).read_text())
    assert (told["score"], told["reasons"], told["source"], told["frame"]) == (0.5, {"doubt": 0.5}, "drive.mp4", "f5")


def test_of_one_scene_the_better_frame_stays(collection, tmp_path):
    for number, score in enumerate([0.4, 0.6, 0.5]):
        collection.write(rated(number, score, [0.01 * number, 0]))
    assert kept(tmp_path / "c") == [1]


def test_when_it_is_full_the_frame_that_is_worth_least_goes(collection, tmp_path):
    for number, (score, place) in enumerate([(0.5, 0), (0.2, 10), (0.6, 20), (0.1, 30), (0.9, 40)]):
        collection.write(rated(number, score, [place, 0]))
    assert kept(tmp_path / "c") == [0, 2, 4]
    assert (
        len(list((tmp_path / "c" / "reasons").iterdir())) == len(list((tmp_path / "c" / "predictions").iterdir())) == 3
    )


def test_diversity_counts_as_the_score_does(tmp_path):
    collection = Collection(tmp_path / "c", 10**9, MANIFEST, most=2)
    for number, (score, place) in enumerate([(0.6, 0), (0.5, 0.5), (0.4, 10)]):
        collection.write(rated(number, score, [place, 0]))
    assert kept(tmp_path / "c") == [0, 2]  # the second shows nearly what the first does


def test_a_score_that_is_no_number_is_left_out(collection, tmp_path):
    collection.write(rated(0, float("nan"), [0, 0]))
    assert kept(tmp_path / "c") == []


def test_distances_stay_right_whatever_comes_and_goes(tmp_path):
    rng = np.random.default_rng(0)
    collection = Collection(tmp_path / "c", 10**9, MANIFEST, most=8)
    for number in range(60):
        collection.write(rated(number, float(rng.uniform(0.1, 1)), rng.uniform(0, 3, 2)))
        gaps = np.linalg.norm(collection._places[:, None] - collection._places, axis=2)
        np.fill_diagonal(gaps, np.inf)
        assert np.allclose(collection._nearest, gaps.min(axis=1))
    assert len(collection) == 8


def test_the_budget_of_bytes_holds(tmp_path):
    rng = np.random.default_rng(0)
    collection = Collection(tmp_path / "c", 60_000, MANIFEST)
    for number in range(12):
        noise = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
        collection.write(rated(number, 0.1 * number + 0.1, [number, 0], noise))
    assert sum(path.stat().st_size for path in (tmp_path / "c" / "images").iterdir()) <= 60_000
    assert 11 in kept(tmp_path / "c")
    assert 0 not in kept(tmp_path / "c")


def test_a_later_run_goes_on_and_a_second_one_at_a_time_is_refused(collection, tmp_path):
    collection.write(rated(1, 0.5, [0, 0]))
    with pytest.raises(ConfigError, match="Another process collects frames"):
        Collection(tmp_path / "c", 10**9, MANIFEST)
    collection.close()
    (tmp_path / "c" / "reasons" / "mine.json").write_text("[1")  # somebody's own file
    later = Collection(tmp_path / "c", 10**9, MANIFEST)
    assert len(later) == 1
    later.write(rated(2, 0.4, [0.1, 0]))
    assert kept(tmp_path / "c") == [1]
    later.close()


@pytest.mark.parametrize("content", ["classes: [a, b]\n", "[1, 2]\n", "a: [\n"])
def test_a_folder_of_other_classes_is_refused_and_left_to_others(tmp_path, content):
    (tmp_path / "classes.yaml").write_text(content)
    with pytest.raises(ConfigError, match="has other classes than the engine"):
        Collection(tmp_path, 10**9, MANIFEST)
    (tmp_path / "classes.yaml").unlink()
    Collection(tmp_path, 10**9, MANIFEST).close()


def test_what_a_killed_run_left_half_is_removed(collection, tmp_path):
    collection.write(rated(1, 0.5, [0, 0]))
    collection.close()
    next((tmp_path / "c" / "images").iterdir()).unlink()
    (tmp_path / "c" / "predictions" / "mine.png").write_bytes(b"")
    Collection(tmp_path / "c", 10**9, MANIFEST).close()
    assert list((tmp_path / "c" / "reasons").iterdir()) == []
    assert [path.name for path in (tmp_path / "c" / "predictions").iterdir()] == ["mine.png"]


def test_a_run_collects(tmp_path):
    run_camera("camvid-light", source="synthetic:4", labels=False, threads=1, collect=tmp_path / "c", collect_gb=0.5)
    split = open_split(f"folder:{tmp_path / 'c'}", "all")
    assert 1 <= len(split) <= 4
    told = json.loads(next((tmp_path / "c" / "reasons").iterdir()).read_text())
    assert 0 < told["reasons"]["doubt"] < 1
    assert told["reasons"]["unlike"] > 0.5  # drawn scenes are unlike CamVid
    with open_collection(tmp_path / "c", 0.5, open_engine_manifest(), "x", EventLog(), live=False):
        pass


def open_engine_manifest():
    from jetseg.network import open_network

    return open_network("camvid-light").manifest
