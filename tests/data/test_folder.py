from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from jetseg.data.dataset import open_split
from jetseg.errors import ConfigError, DataError


def _names(spec: str, split: str) -> list[str]:
    dataset = open_split(spec, split)
    return [dataset[index].name for index in range(len(dataset))]


def _configure(folder: Path, text: str) -> str:
    (folder / "classes.yaml").write_text(text)
    return f"folder:{folder}"


def test_masks_of_0_and_255_become_ids(folder_dir: Path) -> None:
    sample = open_split(f"folder:{folder_dir}", "all")[1]

    assert sample.label_hw_u8 is not None
    assert sample.label_hw_u8[0].tolist() == [0, 0, 0, 1, 1, 1]
    assert sample.image_hwc_u8.shape == (4, 6, 3)


def test_flat_folder_without_splits_has_only_all(folder_dir: Path) -> None:
    with pytest.raises(DataError, match="no split 'train'; there are: all"):
        open_split(f"folder:{folder_dir}", "train")


def test_named_splits_leave_the_rest_to_train(folder_dir: Path) -> None:
    spec = _configure(folder_dir, "classes: [a, b]\nlabel_values: {0: 0, 255: 1}\nsplits: {val: [1], test: ['3']}")

    assert (_names(spec, "val"), _names(spec, "test"), _names(spec, "train")) == (["1"], ["3"], ["0", "2"])
    assert _names(spec, "all") == ["0", "1", "2", "3"]
    with pytest.raises(DataError, match="there are: test, train, val, all"):
        open_split(spec, "night")


def test_yaml_elsewhere_names_the_root(folder_dir: Path, tmp_path: Path) -> None:
    config = tmp_path / "configs" / "membrane.yaml"
    config.parent.mkdir()
    shutil.move(folder_dir / "classes.yaml", config)
    config.write_text(config.read_text() + "root: ../membrane\npalette: [[0, 0, 0], [0, 200, 80]]\n")
    dataset = open_split(f"folder:{config}", "all")

    assert len(dataset) == 4
    assert dataset.palette == ((0, 0, 0), (0, 200, 80))
    with pytest.raises(ConfigError, match=r"classes\.yaml does not exist.*root: FOLDER"):
        open_split(f"folder:{folder_dir}", "all")


def test_a_root_that_no_disk_takes(tmp_path: Path) -> None:
    (tmp_path / "classes.yaml").write_text(f"classes: [a, b]\nroot: {'x' * 300}\n")
    with pytest.raises(DataError, match="cannot be opened .File name too long"):
        open_split(f"folder:{tmp_path}", "all")


def test_split_folders(folder_dir: Path) -> None:
    for part, split in (("images", "train"), ("labels", "train")):
        (folder_dir / part / split).mkdir()
        for path in list((folder_dir / part).glob("*.png")):
            path.rename(folder_dir / part / split / path.name)
    spec = f"folder:{folder_dir}"

    assert _names(spec, "train") == ["0", "1", "2", "3"]
    with pytest.raises(DataError, match="no split 'all'; there are: train"):
        open_split(spec, "all")
    (folder_dir / "images" / "stray.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"holds images and folders \(train\)"):
        open_split(spec, "train")


def test_folder_without_labels_serves_calibration(folder_dir: Path) -> None:
    shutil.rmtree(folder_dir / "labels")

    assert open_split(f"folder:{folder_dir}", "all")[0].label_hw_u8 is None


def test_missing_label_and_ambiguous_name(folder_dir: Path, write_image) -> None:
    (folder_dir / "labels" / "2.png").unlink()
    with pytest.raises(DataError, match=r"images/2\.png has no label: .*labels/2\.png does not exist"):
        open_split(f"folder:{folder_dir}", "all")
    write_image(folder_dir / "images" / "2.jpg", np.zeros((4, 6, 3), np.uint8))
    with pytest.raises(DataError, match=r"both 2\.jpg and 2\.png"):
        open_split(f"folder:{folder_dir}", "all")


def test_all_mistakes_of_the_yaml_are_told_together(folder_dir: Path) -> None:
    spec = _configure(folder_dir, "clases: [a]\nignore_index: 300\n")

    with pytest.raises(ConfigError) as caught:
        open_split(spec, "all")
    for part in ("classes.yaml", "clases", "classes: Field required", "ignore_index"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("classes: [a, a]", "a name twice"),
        ("classes: [a, b]\npalette: [[0, 0, 0]]", "one color for each of the 2"),
        ("classes: [a, b]\npalette: [[0, 0, 0], [0, 0, 256]]", "less than or equal to 255"),
        ("classes: [a, b]\nlabel_values: {300: 1}", r"label_values\.300"),
        ("classes: [a, b]\nlabel_values: {255: 2}", "2 is neither a class id nor ignore_index"),
        ("classes: [a, b]\nsplits: {val: ['../secret']}", "must be a plain name"),
        ("classes: [a, b]\nsplits: {val: ['0'], test: ['0']}", "is in 'val' and in 'test'"),
        ("classes: [a, b]\nsplits: {all: ['0']}", "always means all frames"),
        ("classes: [a, b]\nsplits: {val: [007]}", "no image of that name.*quotes"),
        ("classes: [a, b", "could not be read as YAML"),
        ("- a\n- b", "does not describe a dataset"),
    ],
)
def test_mistake_in_the_yaml_is_explained(folder_dir: Path, text: str, message: str) -> None:
    spec = _configure(folder_dir, text)

    with pytest.raises(ConfigError, match=message):
        open_split(spec, "val")


def test_real_membranes(shared_dir: Path, tmp_path: Path) -> None:
    config = tmp_path / "membrane.yaml"
    root = shared_dir / "data" / "isbi_membrane"
    config.write_text(
        f"root: {root.resolve()}\nclasses: [membrane, cell]\nlabel_values: {{0: 0, 255: 1}}\n"
        "splits: {val: [0, 1], test: [2, 3, 4]}\n"
    )
    spec = f"folder:{config}"

    assert [len(open_split(spec, split)) for split in ("train", "val", "test", "all")] == [15, 2, 3, 20]
    label = open_split(spec, "test")[0].label_hw_u8
    assert label is not None
    assert set(np.unique(label)) == {0, 1}
