from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from jetseg.data.decode import LabelCode, read_frame, read_label
from jetseg.errors import DataError

IDS = np.array([[0, 1, 2], [2, 1, 0]], dtype=np.uint8)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def palette_png(ids: np.ndarray, bits: int) -> bytes:
    """Writes a PNG with a palette, as label tools do; `bits` per pixel."""
    header = struct.pack(">IIBBBBB", ids.shape[1], ids.shape[0], bits, 3, 0, 0, 0)
    rows = b""
    for row in ids:
        digits = "".join(f"{int(value):0{bits}b}" for value in row)
        digits += "0" * (-len(digits) % 8)
        rows += b"\0" + int(digits, 2).to_bytes(len(digits) // 8, "big")
    palette = bytes([10, 20, 30, 200, 0, 0, 0, 200, 0, 5, 5, 5])
    chunks = (
        _chunk(b"IHDR", header)
        + _chunk(b"PLTE", palette)
        + _chunk(b"tRNS", b"\0\xff")
        + _chunk(b"IDAT", zlib.compress(rows))
        + _chunk(b"IEND", b"")
    )
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_palette_png_gives_its_indices(tmp_path: Path, bits: int) -> None:
    path = tmp_path / "label.png"
    path.write_bytes(palette_png(IDS, bits))

    assert np.array_equal(read_label(path, LabelCode(3, None)), IDS)


def test_gray_and_16_bit_and_alpha_images_become_bgr(tmp_path: Path, write_image) -> None:
    gray = np.arange(12, dtype=np.uint8).reshape(3, 4)
    color = np.dstack([gray, gray + 1, gray + 2])
    alpha = np.dstack([color, np.zeros_like(gray)])

    assert np.array_equal(read_frame(write_image(tmp_path / "g.png", gray)), np.dstack([gray] * 3))
    assert np.array_equal(
        read_frame(write_image(tmp_path / "w.png", gray.astype(np.uint16) * 257)), np.dstack([gray] * 3)
    )
    assert np.array_equal(read_frame(write_image(tmp_path / "a.png", alpha)), color)


def test_gray_label_saved_as_color_or_16_bit_is_accepted(tmp_path: Path, write_image) -> None:
    code = LabelCode(3, None)

    assert np.array_equal(read_label(write_image(tmp_path / "c.png", np.dstack([IDS] * 3)), code), IDS)
    assert np.array_equal(read_label(write_image(tmp_path / "w.png", IDS.astype(np.uint16)), code), IDS)


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
