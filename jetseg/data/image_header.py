"""What the header of an image file says, without decoding the picture: size, bits, palette, orientation."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
JPEG_MAGIC = b"\xff\xd8"
_TIFF_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_PALETTE = 3
"""Color type of a PNG with a palette (ISO/IEC 15948, section 11.2.2)."""
_MOST_PARTS = 4096
"""Chunks, segments or tags that are looked at; a file that has more is not an image of a dataset."""
_WIDTH_TAG, _HEIGHT_TAG, _BITS_TAG, _ORIENTATION_TAG = 256, 257, 258, 274
_NOT_FRAME_HEADERS = {0xC4, 0xC8, 0xCC}
"""JPEG markers between C0 and CF that do not begin a frame (ITU T.81, table B.1)."""


@dataclass(frozen=True)
class ImageHeader:
    """What a header says.

    Attributes:
        width: Columns as they are stored, before any orientation.
        height: Rows likewise.
        bits: Per sample, or per index of a palette, of a PNG; of BMP and TIFF 1, or 8 for all else.
        palette_rgb: Three bytes per index; None without a palette.
        orientation: Of the EXIF standard, 1 to 8: how the stored picture must be turned to be upright.
    """

    width: int
    height: int
    bits: int = 8
    palette_rgb: bytes | None = None
    orientation: int = 1

    @property
    def size(self) -> tuple[int, int]:
        """Width and height as stored."""
        return self.width, self.height

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height of the upright picture."""
        return (self.height, self.width) if self.orientation >= 5 else self.size


def read_header(path: Path) -> ImageHeader | None:
    """Reads the header of a PNG, JPEG, BMP or TIFF file, some hundred bytes; None if it is none of these, or broken."""
    try:
        with path.open("rb") as file:
            return _parse(file)
    except OSError:
        return None


def parse_header(content: bytes) -> ImageHeader | None:
    """Reads the header of a file that is in memory; see `read_header`."""
    return _parse(io.BytesIO(content))


def _parse(file: BinaryIO) -> ImageHeader | None:
    start = file.read(32)
    try:
        if start.startswith(PNG_MAGIC):
            return _png(file)
        if start.startswith(JPEG_MAGIC):
            return _jpeg(file)
        if start.startswith(b"BM"):
            width, height, _, bits = struct.unpack_from("<iiHH", start, 18)
            return ImageHeader(width, abs(height), 1 if bits == 1 else 8)
        if start[:4] in _TIFF_ORDERS:
            tags = _tiff_tags(file, 0)
            bits = tags.get(_BITS_TAG, 1)
            return ImageHeader(tags[_WIDTH_TAG], tags[_HEIGHT_TAG], 1 if bits == 1 else 8, None, _turn(tags))
    except (struct.error, KeyError, OverflowError):
        pass
    return None


def _png(file: BinaryIO) -> ImageHeader | None:
    width = height = bits = color_type = 0
    palette, orientation = None, 1
    for kind, length in _png_chunks(file):
        if kind == b"IHDR":
            width, height, bits, color_type = struct.unpack(">IIBB", file.read(10))
        elif kind == b"PLTE":
            palette = file.read(min(length, 768))
        elif kind == b"eXIf":
            orientation = _turn(_tiff_tags(file, file.tell()))
        elif kind == b"IDAT":
            break
    if bits not in (1, 2, 4, 8, 16):
        return None
    return ImageHeader(width, height, bits, (palette or b"") if color_type == _PALETTE else None, orientation)


def _png_chunks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    place = len(PNG_MAGIC)
    for _ in range(_MOST_PARTS):
        file.seek(place)
        length, kind = struct.unpack(">I4s", file.read(8))
        yield kind, length
        place += 12 + length


def _jpeg(file: BinaryIO) -> ImageHeader | None:
    orientation, place = 1, 2
    for _ in range(_MOST_PARTS):
        file.seek(place)
        mark, marker, length = struct.unpack(">BBH", file.read(4))
        if mark != 0xFF:
            return None
        if marker == 0xFF:  # a byte of padding
            place += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in _NOT_FRAME_HEADERS:
            bits, height, width = struct.unpack(">BHH", file.read(5))
            return ImageHeader(width, height, bits, None, orientation)
        if marker == 0xE1 and file.read(6) == b"Exif\0\0":
            orientation = _turn(_tiff_tags(file, place + 10))
        place += 2 + length
    return None


def _tiff_tags(file: BinaryIO, start: int) -> dict[int, int]:
    """Returns the tags of the first folder that hold a number, 0 for several; offsets count from `start`."""
    file.seek(start)
    head = file.read(8)
    order = _TIFF_ORDERS.get(head[:4])
    if order is None:
        return {}
    (offset,) = struct.unpack_from(order + "I", head, 4)
    file.seek(start + offset)
    (count,) = struct.unpack(order + "H", file.read(2))
    entries = file.read(12 * min(count, _MOST_PARTS))
    tags = {}
    for place in range(0, len(entries) - 11, 12):
        tag, kind, values = struct.unpack_from(order + "HHI", entries, place)
        if kind in (3, 4):  # numbers of 16 or 32 bits
            (number,) = struct.unpack_from(order + ("H" if kind == 3 else "I"), entries, place + 8)
            tags[tag] = number if values == 1 else 0
    return tags


def _turn(tags: dict[int, int]) -> int:
    orientation = tags.get(_ORIENTATION_TAG, 1)
    return orientation if 1 <= orientation <= 8 else 1
