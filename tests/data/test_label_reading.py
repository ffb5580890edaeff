"""What the pixels of label images mean, for a whole dataset."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pytest
from image_files import optimized, png, turned_jpeg

from jetseg.data.dataset import open_split
from jetseg.data.decode import LabelCode, upright
from jetseg.data.label_reading import decide_reading
from jetseg.errors import DataError

TWELVE = "classes: [a, b, c, d, e, f, g, h, i, j, k]\nignore_index: 11\n"


def dataset(folder: Path, labels: dict[str, bytes | np.ndarray], settings: str) -> str:
    """Makes a folder dataset with these label images; each frame is black and as large as its label."""
    for name, content in labels.items():
        data = content if isinstance(content, bytes) else cv2.imencode(".png", content)[1].tobytes()
        shape = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED).shape[:2]
        for part, written in (
            ("labels", data),
            ("images", cv2.imencode(".png", np.zeros(shape, np.uint8))[1].tobytes()),
        ):
            (folder / part).mkdir(parents=True, exist_ok=True)
            (folder / part / f"{name}.png").write_bytes(written)
    (folder / "classes.yaml").write_text(settings)
    return f"folder:{folder}"


def labels_of(spec: str) -> list[list[list[int]]]:
    split = open_split(spec, "all")
    return [split[index].label_hw_u8.tolist() for index in range(len(split))]


GRAY = np.array([[3, 7, 9], [9, 7, 3]], np.uint8)


@pytest.mark.parametrize("labels", [{"a": optimized(GRAY)}, {"a": GRAY, "b": optimized(GRAY)}])
def test_gray_labels_in_a_palette_are_asked_about(tmp_path: Path, labels) -> None:
    spec = dataset(tmp_path, labels, TWELVE)
    with pytest.raises(DataError, match=r"index 0 stands for the gray value 3, .*`labels: {read: gray}`") as caught:
        open_split(spec, "all")
    assert caught.value.exit_code == 2

    dataset(tmp_path, labels, TWELVE + "labels: {read: gray}")
    assert labels_of(spec) == [GRAY.tolist()] * len(labels)
    dataset(tmp_path, {"a": optimized(GRAY)}, TWELVE + "labels: {read: index}")
    assert labels_of(spec)[0] == [[0, 1, 2], [2, 1, 0]]


def test_one_file_in_which_only_gray_values_are_ids_decides_for_all(tmp_path: Path) -> None:
    settings = "classes: [a, b, c]\nlabel_values: {3: 0, 7: 1, 0: 1, 1: 2}\n"
    sure, open_to_both = np.array([[3, 7, 0]], np.uint8), np.array([[1, 3]], np.uint8)
    spec = dataset(tmp_path, {"a": optimized(open_to_both), "b": optimized(sure)}, settings)
    assert labels_of(spec) == [[[2, 0]], [[0, 1, 1]]]


def test_index_whose_gray_value_is_no_id_is_the_id(tmp_path: Path) -> None:
    shown = bytes(level for index in range(12) for level in [20 * index] * 3)  # gray levels for people
    ids = np.array([[0, 1, 11]], np.uint8)
    assert labels_of(dataset(tmp_path, {"a": png(ids, 4, shown)}, TWELVE)) == [ids.tolist()]


def test_palettes_in_color_give_indices_unless_they_differ(tmp_path: Path) -> None:
    colors = bytes(range(36))
    ids = np.array([[0, 5, 11]], np.uint8)
    spec = dataset(tmp_path, {"a": png(ids, 8, colors), "b": png(ids, 4, colors)}, TWELVE)
    assert labels_of(spec) == [ids.tolist()] * 2

    dataset(tmp_path, {"c": png(ids % 4, 4, bytes(range(1, 37)))}, TWELVE)
    with pytest.raises(DataError, match=r"Index 0 has the color \(0, 1, 2\) in the palette of .*a\.png"):
        open_split(spec, "all")
    dataset(tmp_path, {}, TWELVE + "labels: {read: index}")
    assert labels_of(spec)[2] == [[0, 1, 3]]


ONE_BIT = np.array([[0, 1, 1, 0]], np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_one_bit_masks_hold_0_and_1(tmp_path: Path, suffix: str) -> None:
    spec = dataset(tmp_path, {"a": png(ONE_BIT, 1)}, "classes: [a, b]\nignore_index: 255\n")
    if suffix != ".png":
        (tmp_path / "labels" / "a.png").unlink()
        (tmp_path / "labels" / f"a{suffix}").write_bytes(ONE_BIT_FILES[suffix])
    assert labels_of(spec) == [[[0, 1, 1, 0]]]


def test_one_bit_masks_hold_0_and_255_where_only_that_is_an_id(tmp_path: Path) -> None:
    settings = "classes: [a, b]\nlabel_values: {0: 0, 255: 1}\n"
    whole = np.array([[255, 0, 0, 0]], np.uint8)
    assert labels_of(dataset(tmp_path, {"a": png(ONE_BIT, 1), "b": whole}, settings)) == [
        [[0, 1, 1, 0]],
        [[1, 0, 0, 0]],
    ]


def test_one_bit_file_among_others_is_asked_about(tmp_path: Path) -> None:
    settings = "classes: [a, b]\nignore_index: 255\n"
    spec = dataset(tmp_path, {"a": png(ONE_BIT, 1), "b": np.array([[0, 1, 255, 0]], np.uint8)}, settings)
    with pytest.raises(DataError, match=r"a\.png has one bit per pixel: index 1 stands for the gray value 255"):
        open_split(spec, "all")
    dataset(tmp_path, {}, settings + "labels: {read: gray}")
    assert labels_of(spec) == [[[0, 255, 255, 0]], [[0, 1, 255, 0]]]


def test_one_bit_file_without_a_1_is_not_asked_about(tmp_path: Path) -> None:
    labels = {"a": png(0 * ONE_BIT, 1), "b": np.array([[0, 1, 255, 0]], np.uint8)}
    spec = dataset(tmp_path, labels, "classes: [a, b]\nignore_index: 255\n")
    assert labels_of(spec) == [[[0, 0, 0, 0]], [[0, 1, 255, 0]]]


@pytest.mark.parametrize("bits", [2, 4])
def test_few_bits_of_gray_are_decided_by_what_occurs(tmp_path: Path, bits: int) -> None:
    ids = np.array([[0, 1, 2, 2]], np.uint8)
    assert labels_of(dataset(tmp_path, {"a": png(ids, bits)}, "classes: [a, b, c]")) == [ids.tolist()]
    scale = 255 // ((1 << bits) - 1)
    values = f"classes: [a, b, c]\nlabel_values: {{0: 0, {scale}: 1, {2 * scale}: 2}}"
    assert labels_of(dataset(tmp_path, {"a": png(ids, bits)}, values)) == [ids.tolist()]


def test_files_that_contradict_each_other_are_named(tmp_path: Path) -> None:
    settings = "classes: [a, b, c]\nlabel_values: {0: 0, 1: 1, 17: 2}\n"
    labels = {
        "a": png(np.array([[0, 1]], np.uint8), 1),
        "b": png(np.array([[0, 1]], np.uint8), 4, bytes([17] * 3 + [0] * 3)),
    }
    (tmp_path / "x").mkdir()
    spec = dataset(
        tmp_path / "x", {**labels, "c": png(np.array([[2, 0]]), 2, bytes([0] * 3 + [1] * 3 + [17] * 3))}, settings
    )
    with pytest.raises(DataError, match=r"label ids of .*a\.png can only be its pixels' indices, those of .*c\.png"):
        open_split(spec, "all")


def test_all_splits_are_read_alike(camvid_dir: Path) -> None:
    (camvid_dir / "valannot" / "c.png").write_bytes(optimized(np.arange(24).reshape(4, 6) % 3 + 3))
    with pytest.raises(DataError, match=r"valannot/c\.png holds gray values by an index"):
        open_split(f"camvid:{camvid_dir}", "train")


def test_real_camvid_labels_are_not_asked_about(shared_dir: Path) -> None:
    labels = sorted((shared_dir / "data" / "camvid").glob("*annot/*.png"))
    assert decide_reading(labels, LabelCode(11, 11)) == "index"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_labels_of_the_sensor_are_turned_like_their_frames(tmp_path: Path, orientation: int) -> None:
    ids = np.zeros((16, 32), np.uint8)
    ids[:8, :8] = 1
    spec = dataset(tmp_path, {"a": ids}, "classes: [a, b]\nlabels: {orientation: sensor}")
    (tmp_path / "images" / "a.png").unlink()
    (tmp_path / "images" / "a.jpg").write_bytes(turned_jpeg(ids * 200, orientation))
    sample = open_split(spec, "all")[0]
    assert sample.image_hwc_u8.shape[:2] == ((32, 16) if orientation >= 5 else (16, 32))
    assert np.array_equal(sample.image_hwc_u8[..., 0] > 100, sample.label_hw_u8 == 1)
    assert sample.label_hw_u8.sum() == 64


@pytest.mark.parametrize(("orientation", "turned"), [(6, True), (6, False), (3, False), (3, True)])
def test_labels_of_turned_frames_are_asked_about_where_sizes_do_not_tell(tmp_path, orientation, turned) -> None:
    ids = np.zeros((16, 32), np.uint8)
    ids[:8, :8] = 1
    drawn = upright(ids, orientation) if turned else ids
    spec = dataset(tmp_path, {"a": drawn}, "classes: [a, b]\n")
    (tmp_path / "images" / "a.png").unlink()
    (tmp_path / "images" / "a.jpg").write_bytes(turned_jpeg(ids * 200, orientation))
    if orientation == 6 and turned:  # the size fits the upright frame only
        sample = open_split(spec, "all")[0]
        assert np.array_equal(sample.image_hwc_u8[..., 0] > 100, sample.label_hw_u8 == 1)
        return
    with pytest.raises(DataError, match=r"a\.jpg is turned by its EXIF orientation .*`labels: {orientation: sensor}`"):
        open_split(spec, "all")
    if turned:
        dataset(tmp_path, {}, "classes: [a, b]\nlabels: {orientation: upright}")
        sample = open_split(spec, "all")[0]
        assert np.array_equal(sample.image_hwc_u8[..., 0] > 100, sample.label_hw_u8 == 1)


def test_names_match_in_both_forms_of_unicode_and_case_of_the_suffix(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "straße-brücke") for form in ("NFC", "NFD"))
    spec = dataset(tmp_path, {"x": np.array([[1]], np.uint8)}, f"classes: [a, b]\nsplits: {{val: [{decomposed}]}}")
    (tmp_path / "images" / "x.png").rename(tmp_path / "images" / f"{composed}.PNG")
    (tmp_path / "labels" / "x.png").rename(tmp_path / "labels" / f"{decomposed}.Png")
    split = open_split(spec, "val")
    assert [split[0].name, split[0].label_hw_u8.tolist()] == [composed, [[1]]]

    (tmp_path / "images" / f"{decomposed}.png").write_bytes(b"")
    with pytest.raises(DataError, match="which would share one label"):
        open_split(spec, "val")


def test_two_labels_of_one_name_are_refused(tmp_path: Path) -> None:
    spec = dataset(tmp_path, {"x": np.array([[1]], np.uint8)}, "classes: [a, b]")
    (tmp_path / "labels" / "x.PNG").write_bytes(png(np.array([[0]]), 8))
    with pytest.raises(DataError, match=r"holds both x\.PNG and x\.png"):
        open_split(spec, "all")


def test_cityscapes_and_folders_of_splits_match_as_well(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "zürich") for form in ("NFC", "NFD"))
    for part, name in (("leftImg8bit", "leftImg8bit"), ("gtFine", "gtFine_labelIds")):
        folder = tmp_path / "city" / part / "train" / "zurich"
        folder.mkdir(parents=True)
        stem = composed if part == "gtFine" else decomposed
        (folder / f"{stem}_000000_000019_{name}.PNG").write_bytes(png(np.array([[7]]), 8))
    split = open_split(f"cityscapes:{tmp_path / 'city'}", "train")
    assert (len(split), split[0].label_hw_u8.tolist()) == (1, [[0]])

    spec = dataset(tmp_path / "own", {"x": np.array([[1]], np.uint8)}, "classes: [a, b]")
    for part, name in (("images", composed), ("labels", decomposed)):
        (tmp_path / "own" / part / name).mkdir()
        (tmp_path / "own" / part / "x.png").rename(tmp_path / "own" / part / name / "x.png")
    assert len(open_split(spec, decomposed)) == 1


def _bmp(ids: np.ndarray) -> bytes:
    import struct

    row = int("".join(map(str, ids[0])).ljust(32, "0"), 2).to_bytes(4, "big")
    head = (
        b"BM"
        + struct.pack("<IHHI", 62 + 4, 0, 0, 62)
        + struct.pack("<IiiHHIIiiII", 40, ids.shape[1], 1, 1, 1, 0, 4, 0, 0, 2, 0)
    )
    return head + b"\0\0\0\0\xff\xff\xff\0" + row


def _tiff(ids: np.ndarray) -> bytes:
    import struct

    tags = [
        (256, 4, ids.shape[1]),
        (257, 4, 1),
        (258, 3, 1),
        (259, 3, 1),
        (262, 3, 1),
        (273, 4, 8),
        (277, 3, 1),
        (278, 4, 1),
        (279, 4, 1),
    ]
    bits = int("".join(map(str, ids[0])).ljust(8, "0"), 2)
    entries = b"".join(struct.pack("<HHI", tag, kind, 1) + struct.pack("<I", value) for tag, kind, value in tags)
    return (
        b"II*\0"
        + struct.pack("<I", 10)
        + bytes([bits, 0])
        + struct.pack("<H", len(tags))
        + entries
        + struct.pack("<I", 0)
    )


ONE_BIT_FILES = {".bmp": _bmp(ONE_BIT), ".tif": _tiff(ONE_BIT)}
