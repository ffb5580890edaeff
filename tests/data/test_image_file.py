"""Images are bounded by what their header says, before anything is decoded."""

import os
import struct
import sys

import cv2
import numpy as np
import pytest
from image_files import chunk, png

from jetseg.camera.sources.opening import open_source
from jetseg.data import image_file
from jetseg.data.dataset import open_split
from jetseg.data.decode import label_pixels, read_frame
from jetseg.data.image_header import MOST_PIXELS, ImageHeader, parse_header, read_header
from jetseg.errors import DataError, InputError, OutOfMemoryError

SIDE = 30_000
PIXELS = np.random.default_rng(0).integers(0, 3, (12, 20)).astype(np.uint8)


def encoded(suffix: str, *options: int) -> bytes:
    return cv2.imencode(suffix, PIXELS if suffix == ".pgm" else np.dstack([PIXELS] * 3), options)[1].tobytes()


def tiff(*tags: tuple[int, int, int, int]) -> bytes:
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + b"\0" * 4


def large_png() -> bytes:
    whole = png(PIXELS, 8)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, 8, 0, 0, 0, 0))
    return whole[:8] + header + whole[33:]


def large_jpeg() -> bytes:
    content = bytearray(encoded(".jpg"))
    place = content.index(b"\xff\xc0")
    content[place + 5 : place + 9] = struct.pack(">HH", SIDE, SIDE)
    return bytes(content)


def large_webp() -> bytes:
    content = bytearray(encoded(".webp", cv2.IMWRITE_WEBP_QUALITY, 50))
    place = content.index(b"VP8 ") + 14
    content[place : place + 4] = struct.pack("<HH", 16_000, 16_000)
    return bytes(content)


LARGE = {
    "a.png": large_png(),
    "b.jpg": large_jpeg(),
    "c.bmp": b"BM" + struct.pack("<IIIIiiHH", 0, 0, 54, 40, SIDE, -SIDE, 1, 24) + b"\0" * 64,
    "d.tif": tiff((256, 4, 1, SIDE), (257, 4, 1, SIDE), (258, 3, 1, 8)),
    "e.tif": tiff((256, 4, 1, 20), (257, 4, 1, 12), (322, 4, 1, SIDE), (323, 4, 1, SIDE)),
    "f.tif": tiff((256, 4, 1, SIDE), (256, 4, 1, 1), (257, 4, 1, SIDE), (257, 4, 1, 1)),
    "g.webp": large_webp(),
    "h.webp": b"RIFF\0\0\0\0WEBPVP8X" + struct.pack("<II", 10, 0) + (SIDE - 1).to_bytes(3, "little") * 2 + b"\0" * 8,
    "i.pgm": b"P5\n# a comment\n30000 30000\n255\n",
    "j.ppm": b"P6 30000\t30000 255 ",
    "k.png": b"P5 30000 30000 255 ",
}


@pytest.mark.parametrize("name", LARGE)
def test_large_images_are_refused_unread_by_all_that_read_images(tmp_path, monkeypatch, name):
    decoded = []
    monkeypatch.setattr(image_file.cv2, "imdecode", lambda *arguments: decoded.append(arguments))
    for place in ("images", "labels"):
        (tmp_path / place).mkdir()
    (tmp_path / "images" / name).write_bytes(LARGE[name])
    (tmp_path / "labels" / f"{name[0]}.png").write_bytes(png(PIXELS, 8))
    (tmp_path / "classes.yaml").write_text("classes: [a, b, c]\n")
    with (tmp_path / "images" / name).open("r+b") as file:
        file.truncate(1 << 40)  # a terabyte that takes no room: it is not read
    path = tmp_path / "images" / name
    ways = [
        lambda: read_frame(path),
        lambda: label_pixels(path, "index"),
        lambda: open_source(str(path)).read(),
        lambda: open_source(str(path.parent)).read(),
        lambda: open_split(f"folder:{tmp_path}", "all")[0],
    ]
    for way in ways:
        with pytest.raises(DataError, match=r"has (\d+x|tiles of )\d+ pixels, more than 100 million"):
            way()
    assert not decoded


def test_the_bound_is_that_of_opencv_as_well():
    assert int(os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"]) == MOST_PIXELS


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif", ".webp", ".pgm", ".ppm"])
def test_headers_say_what_decoders_find(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(encoded(suffix))
    assert read_header(path).size == (20, 12)
    assert read_frame(path).shape == (12, 20, 3)


def test_both_kinds_of_webp():
    for quality in (50, 101):  # 101 is lossless
        assert parse_header(encoded(".webp", cv2.IMWRITE_WEBP_QUALITY, quality)).size == (20, 12)


def test_the_short_header_of_a_bitmap():
    short = b"BM" + struct.pack("<IIIIHHHH", 0, 0, 26, 12, 20, 12, 1, 24)
    assert parse_header(short + b"\0" * 800).size == (20, 12)


def test_bytes_before_a_marker_are_skipped_as_decoders_do(tmp_path):
    content = encoded(".jpg")
    place = content.index(b"\xff\xdb")
    path = tmp_path / "a.jpg"
    path.write_bytes(content[:place] + b"abc\xff\xff" + content[place + 1 :])
    assert read_header(path).size == (20, 12)
    assert read_frame(path).shape == (12, 20, 3)


@pytest.mark.parametrize("suffix", [".gif", ".jp2", ".hdr", ".ras", ".avif"])
def test_formats_whose_headers_are_not_known_are_not_decoded(tmp_path, suffix):
    try:
        good, content = cv2.imencode(suffix, np.dstack([PIXELS] * 3))
    except cv2.error:
        good = False
    if not good:
        pytest.skip("this OpenCV does not write it")
    (tmp_path / "a.png").write_bytes(bytes(content))
    with pytest.raises(DataError, match="corrupt or not an image"):
        read_frame(tmp_path / "a.png")


def test_a_file_too_large_for_any_image_is_not_read(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png(PIXELS, 8))
    with path.open("r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises(DataError, match="too much for an image"):
        read_frame(path)


@pytest.mark.parametrize("size", [1 << 31, (1 << 31) - 1, (1 << 32) - 1, 1 << 20])
def test_a_chunk_that_promises_more_than_the_file_has_takes_no_memory(tmp_path, monkeypatch, size):
    monkeypatch.setattr(image_file.cv2, "imdecode", None)  # it would take all that at once
    content = bytearray(png(PIXELS, 8))
    place = content.index(b"IDAT") - 4
    content[place : place + 4] = struct.pack(">I", size)
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match="is truncated"):
        read_frame(tmp_path / "a.png")


def test_a_decoder_without_memory_says_so(tmp_path, monkeypatch):
    def refuse(*_):
        error = cv2.error("no memory")
        error.code = cv2.Error.StsNoMem
        raise error

    (tmp_path / "a.png").write_bytes(png(PIXELS, 8))
    monkeypatch.setattr(image_file.cv2, "imdecode", refuse)
    with pytest.raises(OutOfMemoryError, match=r"the image .*a\.png"):
        read_frame(tmp_path / "a.png")


NUMBERS = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\x75\x30", b"\x30\x75\0\0", b"\x01", b"99999")
MAGICS = [
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"BM",
    b"II*\0",
    b"MM\0*",
    b"RIFF\0\0\0\0WEBPVP8X",
    b"P5 ",
    b"GIF89a",
    b"",
]


@pytest.mark.long
@pytest.mark.fuzz
def test_images_with_anything_in_them(tmp_path, trials):
    wholes = [encoded(suffix) for suffix in (".png", ".jpg", ".bmp", ".tif", ".webp", ".pgm", ".ppm")]
    wholes += [png(PIXELS % 2, 1), png(PIXELS, 4), png(PIXELS, 8, bytes(range(48))), *LARGE.values()]
    path, opened, count, valid = tmp_path / "a.png", [], 0, 0
    sys.addaudithook(lambda event, found: opened.append(str(found[0])) if event == "open" and opened else None)
    for draw in trials(1500):
        count += 1
        data = bytearray(draw.choice(wholes))
        if draw.random() < 0.2:
            data = bytearray(draw.choice(MAGICS) + draw.randbytes(draw.randrange(200)))
        for _ in range(draw.choice((0, 1, 2, 4)) if data else 0):
            place = draw.randrange(min(len(data), 64) if draw.random() < 0.7 else len(data))
            what = draw.choice(NUMBERS) if draw.random() < 0.5 else draw.randbytes(1)
            data[place : place + len(what)] = what
            if draw.random() < 0.1:
                del data[place + 1 :]
        path.write_bytes(data)
        opened[:] = ["begun"]
        header = read_header(path)
        for read in (read_frame, lambda file: label_pixels(file, "index")):
            try:
                size = read(path).shape[:2]
                valid += 1
                assert isinstance(header, ImageHeader)
                assert size in (header.size[::-1], header.upright_size[::-1])
            except InputError as error:
                assert str(path) in str(error)  # noqa: PT017 - most are refused
        found = set(opened)
        opened.clear()
        assert found <= {"begun", str(path)}
    assert 0.1 * count < valid < 2 * count
