from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jetseg.data.dataset import open_split
from jetseg.errors import ConfigError, DataError
from jetseg.installation import install_hint


@pytest.mark.parametrize(
    "spec",
    [
        *("kitti:/data", "", "camvid", "camvid:", "synthetic:", "synthetic:0", "synthetic:x", "phantom:1001"),
        pytest.param(f"synthetic:{'9' * 5000}", id="more digits than Python reads"),
    ],
)
def test_malformed_spec_is_refused(spec: str) -> None:
    with pytest.raises(ConfigError, match=r"Known forms|Write it as"):
        open_split(spec, "train")


@pytest.mark.parametrize("kind", ["camvid", "cityscapes", "folder"])
def test_missing_folder_is_named(kind: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone.* does not exist; it should hold"):
        open_split(f"{kind}:{tmp_path / 'gone'}", "train")


def test_unknown_split_lists_those_that_exist(camvid_dir: Path) -> None:
    with pytest.raises(DataError, match="no split 'tset'; there are: train, val"):
        open_split(f"camvid:{camvid_dir}", "tset")
    with pytest.raises(DataError, match="no split 'tset'; there are: train, val, test"):
        open_split("synthetic", "tset")


def test_camvid_frames_are_sorted_and_void_is_ignored(camvid_dir: Path) -> None:
    dataset = open_split(f"camvid:{camvid_dir}", "train")

    assert [dataset[index].name for index in range(len(dataset))] == ["a", "b"]
    assert dataset[1].image_hwc_u8[0, 0].tolist() == [98, 98, 98]
    assert (len(dataset.classes), len(dataset.palette), dataset.ignore_index) == (11, 11, 11)
    assert (dataset.spec, dataset.split) == (f"camvid:{camvid_dir}", "train")
    with pytest.raises(IndexError):
        dataset[2]


def test_size_mismatch_names_both_files(camvid_dir: Path, write_image) -> None:
    write_image(camvid_dir / "trainannot" / "a.png", np.zeros((5, 6), np.uint8))

    with pytest.raises(DataError, match=r"train/a\.png is 6x4 pixels, but its label .*trainannot/a\.png is 6x5"):
        open_split(f"camvid:{camvid_dir}", "train")[0]


def test_missing_label_is_named_at_opening(camvid_dir: Path) -> None:
    (camvid_dir / "trainannot" / "b.png").unlink()

    with pytest.raises(DataError, match=r"train/b\.png has no label: .*trainannot/b\.png does not exist"):
        open_split(f"camvid:{camvid_dir}", "train")


def test_empty_split_is_refused(camvid_dir: Path) -> None:
    (camvid_dir / "val" / "c.png").unlink()

    with pytest.raises(DataError, match="val holds no images"):
        open_split(f"camvid:{camvid_dir}", "val")


def test_broken_file_is_met_only_when_asked_for(camvid_dir: Path) -> None:
    (camvid_dir / "train" / "a.png").write_bytes(b"broken")
    dataset = open_split(f"camvid:{camvid_dir}", "train")

    assert dataset[1].name == "b"
    with pytest.raises(DataError, match=r"a\.png is corrupt"):
        dataset[0]


def test_real_camvid(shared_dir: Path) -> None:
    spec = f"camvid:{shared_dir / 'data' / 'camvid'}"

    assert [len(open_split(spec, split)) for split in ("train", "val", "test")] == [367, 101, 62]
    sample = open_split(spec, "test")[0]
    assert sample.name == "0001TP_008550"
    assert sample.image_hwc_u8.shape == (360, 480, 3)
    assert sample.label_hw_u8 is not None
    assert set(np.unique(sample.label_hw_u8)) <= set(range(12))


@pytest.fixture
def cityscapes_dir(tmp_path: Path, write_image) -> Path:
    root = tmp_path / "cityscapes"
    for city, name in (("ulm", "ulm_000000_000019"), ("aachen", "aachen_000001_000019")):
        write_image(root / "leftImg8bit" / "train" / city / f"{name}_leftImg8bit.png", np.zeros((2, 4, 3), np.uint8))
        ids = np.array([[0, 7, 8, 33], [26, 9, 255, 11]], np.uint8)
        write_image(root / "gtFine" / "train" / city / f"{name}_gtFine_labelIds.png", ids)
    return root


def test_cityscapes_label_ids_become_train_ids(cityscapes_dir: Path) -> None:
    dataset = open_split(f"cityscapes:{cityscapes_dir}", "train")

    assert [dataset[0].name, dataset[1].name] == ["aachen_000001_000019", "ulm_000000_000019"]
    label = dataset[0].label_hw_u8
    assert label is not None
    assert label.tolist() == [[255, 0, 1, 18], [13, 255, 255, 2]]
    assert (len(dataset.classes), dataset.ignore_index) == (19, 255)


def test_cityscapes_without_labels_or_split(cityscapes_dir: Path) -> None:
    with pytest.raises(DataError, match="no split 'val'; there are: train"):
        open_split(f"cityscapes:{cityscapes_dir}", "val")
    label = cityscapes_dir / "gtFine" / "train" / "ulm" / "ulm_000000_000019_gtFine_labelIds.png"
    label.unlink()
    with pytest.raises(DataError, match=f"{label.name} does not exist.*gtFine_trainvaltest.zip"):
        open_split(f"cityscapes:{cityscapes_dir}", "train")


def test_missing_opencv_is_explained() -> None:
    code = "import sys; sys.modules['cv2'] = None\nimport jetseg.data.dataset"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert "MissingDependencyError" in result.stderr
    assert install_hint("cpu") in " ".join(result.stderr.split())


def test_splits_are_joined_in_order(camvid_dir: Path) -> None:
    spec = f"camvid:{camvid_dir}"
    train, val, both = (open_split(spec, split) for split in ("train", "val", "train+val"))
    assert len(both) == len(train) + len(val)
    assert both.split == "train+val"
    assert [both[index].name for index in range(len(both))] == [
        *(train[index].name for index in range(len(train))),
        *(val[index].name for index in range(len(val))),
    ]
    with pytest.raises(IndexError):
        both[len(both)]
    with pytest.raises(DataError, match="no split 'tset'"):
        open_split(spec, "train+tset")
