from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from jetseg.data.contract import Sample
from jetseg.data.dataset import open_split
from jetseg.data.fingerprint import dataset_fingerprint


def _hash(spec: str, frames: list[int] | None = None, split: str = "train") -> str:
    return dataset_fingerprint(open_split(spec, split), frames)


def test_place_does_not_matter_but_images_do(camvid_dir: Path, tmp_path: Path, write_image) -> None:
    copy = tmp_path / "elsewhere" / "copy"
    shutil.copytree(camvid_dir, copy)
    original = _hash(f"camvid:{camvid_dir}")
    assert _hash(f"camvid:{copy}") == original
    assert len(original) == 64

    write_image(copy / "trainannot" / "a.png", np.zeros((4, 6), np.uint8))
    assert _hash(f"camvid:{copy}") == original

    write_image(copy / "train" / "a.png", np.zeros((4, 6, 3), np.uint8))
    assert _hash(f"camvid:{copy}") != original
    assert _hash(f"camvid:{copy}", [1]) == _hash(f"camvid:{camvid_dir}", [1])


def test_name_order_frames_and_split_matter(camvid_dir: Path) -> None:
    spec = f"camvid:{camvid_dir}"
    hashes = [_hash(spec), _hash(spec, [0]), _hash(spec, [1, 0]), _hash(spec, [0], "val")]
    assert len(set(hashes)) == 4
    assert _hash(spec) == _hash(spec, [0, 1])

    before = _hash(spec, [0])
    for folder in ("train", "trainannot"):
        (camvid_dir / folder / "a.png").rename(camvid_dir / folder / "aa.png")
    assert _hash(spec, [0]) != before


def test_synthetic_frames_are_the_same_in_longer_datasets() -> None:
    assert _hash("synthetic:8", [0, 3]) == _hash("synthetic:99", [0, 3])
    assert _hash("synthetic:8", [0]) != _hash("synthetic:8", [1])


def test_foreign_dataset_is_hashed_by_its_pixels() -> None:
    class Memory:
        spec, split, classes, palette, ignore_index = "memory", "all", ("a",), ((0, 0, 0),), None

        def __init__(self, value: int) -> None:
            self.value = value

        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int) -> Sample:
            return Sample("x", np.full((2, 2, 3), self.value, np.uint8), None)

    assert dataset_fingerprint(Memory(1)) == dataset_fingerprint(Memory(1))
    assert dataset_fingerprint(Memory(1)) != dataset_fingerprint(Memory(2))
