from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from image_files import chunk, png

from jetseg.data.decode import LabelCode, read_frame, read_label
from jetseg.errors import DataError
from jetseg.input_spec import FrameWindow

IDS = np.array([[0, 1, 2], [2, 1, 0]], dtype=np.uint8)
PALETTE = bytes([10, 20, 30, 200, 0, 0, 0, 200, 0, 5, 5, 5])


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_palette_png_gives_its_indices(tmp_path: Path, bits: int) -> None:
    path = tmp_path / "label.png"
    path.write_bytes(png(IDS, bits, PALETTE, extra=chunk(b"tRNS", b"\0\xff")))

    assert np.array_equal(read_label(path, LabelCode(3, None)), IDS)


def test_gray_and_alpha_images_become_bgr(tmp_path: Path, write_image) -> None:
    gray = np.arange(12, dtype=np.uint8).reshape(3, 4)
    color = np.dstack([gray, gray + 1, gray + 2])
    alpha = np.dstack([color, np.zeros_like(gray)])

    assert np.array_equal(read_frame(write_image(tmp_path / "g.png", gray)), np.dstack([gray] * 3))
    assert np.array_equal(read_frame(write_image(tmp_path / "a.png", alpha)), color)


def test_gray_label_saved_as_color_or_16_bit_is_accepted(tmp_path: Path, write_image) -> None:
    code = LabelCode(3, None)

    assert np.array_equal(read_label(write_image(tmp_path / "c.png", np.dstack([IDS] * 3)), code), IDS)
    assert np.array_equal(read_label(write_image(tmp_path / "w.png", IDS.astype(np.uint16)), code), IDS)


DEEP = {
    "uint16.png": np.array([[0, 100, 1000, 1001], [2000, 4095, 65535, 37]], np.uint16),
    "color.png": np.arange(24, dtype=np.uint16).reshape(2, 4, 3) * 150,
    "uint16.tif": np.array([[0, 100, 1000, 1001], [2000, 4095, 65535, 37]], np.uint16),
    "int16.tif": np.array([[-1000, -1, 0, 50], [300, 400, 3071, 99]], np.int16),
    "float32.tif": np.array([[-0.5, 99.9, 1e9, 100.1], [np.inf, 2100, 1234.5, 0]], np.float32),
    "float64.tif": np.array([[-0.5, 99.9, 1e9, 100.1], [2100, 1234.5, 0, 7]], np.float64),
    "uint16.pgm": np.array([[0, 100, 1000, 1001], [2000, 4095, 65535, 37]], np.uint16),
}


@pytest.mark.parametrize("name", DEEP)
def test_deep_frames_are_windowed_by_value(tmp_path: Path, write_image, name: str) -> None:
    values = DEEP[name]
    path = write_image(tmp_path / name, values)
    frame = read_frame(path, FrameWindow(low=100, high=2100))

    expected = np.rint((np.clip(values.astype(np.float64), 100, 2100) - 100) * 255 / 2000).astype(np.uint8)
    assert np.array_equal(frame, expected if values.ndim == 3 else np.dstack([expected] * 3))
    with pytest.raises(DataError, match=rf"{name} holds .* values.*frames: {{low: 0, high: 4095}}"):
        read_frame(path)


def test_frame_of_8_bits_is_taken_as_it_is_and_nan_is_refused(tmp_path: Path, write_image) -> None:
    gray = np.arange(12, dtype=np.uint8).reshape(3, 4)
    window = FrameWindow(low=0, high=4095)

    assert np.array_equal(read_frame(write_image(tmp_path / "g.png", gray), window), np.dstack([gray] * 3))
    broken = write_image(tmp_path / "n.tif", np.array([[1, np.nan]], np.float32))
    with pytest.raises(DataError, match=r"n\.tif holds values that are not numbers"):
        read_frame(broken, window)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp"])
@pytest.mark.parametrize("part", [0.0, 0.4, 0.97])
def test_truncated_file_is_named(tmp_path: Path, write_image, suffix: str, part: float) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    path = write_image(tmp_path / f"frame{suffix}", noise)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])

    with pytest.raises(DataError, match=rf"frame\{suffix} .*(truncated|empty|corrupt|decoded).*Copy"):
        read_frame(path)


def test_flipped_byte_and_text_file_are_refused(tmp_path: Path, write_image) -> None:
    path = write_image(tmp_path / "frame.png", np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(bytes(content))
    text = tmp_path / "text.png"
    text.write_text("not an image")

    for broken in (path, text):
        with pytest.raises(DataError, match=broken.name):
            read_frame(broken)


def test_missing_file_and_folder_in_its_place_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.png does not exist"):
        read_frame(tmp_path / "gone.png")
    (tmp_path / "dir.png").mkdir()
    with pytest.raises(DataError, match=r"dir\.png could not be read"):
        read_frame(tmp_path / "dir.png")


def test_stranger_id_is_named_with_file_and_known_ids(tmp_path: Path, write_image) -> None:
    ids = IDS.copy()
    ids[0, 0] = 200

    with pytest.raises(DataError, match=r"label\.png holds label id 200, but this dataset knows only 0, 1, 2, 11"):
        read_label(write_image(tmp_path / "label.png", ids), LabelCode(3, 11))


def test_color_label_is_refused(tmp_path: Path, write_image) -> None:
    picture = np.dstack([IDS, IDS + 1, IDS])

    with pytest.raises(DataError, match=r"label\.png is a color picture"):
        read_label(write_image(tmp_path / "label.png", picture), LabelCode(3, None))


def test_wide_label_value_is_refused(tmp_path: Path, write_image) -> None:
    with pytest.raises(DataError, match=r"label\.png holds the label value 700"):
        read_label(write_image(tmp_path / "label.png", IDS.astype(np.uint16) * 350), LabelCode(3, None))


def test_label_values_are_mapped(tmp_path: Path, write_image) -> None:
    path = write_image(tmp_path / "label.png", np.array([[0, 255], [255, 0]], np.uint8))

    assert read_label(path, LabelCode(2, None, {0: 1, 255: 0})).tolist() == [[1, 0], [0, 1]]
    with pytest.raises(DataError, match="label id 255"):
        read_label(path, LabelCode(2, None, {0: 0}))


def test_label_is_writable_copy_of_file(tmp_path: Path, write_image) -> None:
    label = read_label(write_image(tmp_path / "label.png", IDS), LabelCode(3, None))

    label[0, 0] = 2
    assert cv2.imread(str(tmp_path / "label.png"), cv2.IMREAD_UNCHANGED)[0, 0] == 0
