"""What the header of an image file says, without decoding the picture: size, bits, palette, orientation."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

MOST_PIXELS = 100_000_000
"""The most that an image or a video's frame may have; decoding takes three bytes for each, and some formats ten."""
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
JPEG_MAGIC = b"\xff\xd8"
_TIFF_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_PALETTE = 3
"""Color type of a PNG with a palette (ISO/IEC 15948, section 11.2.2)."""
_MOST_PARTS = 4096
"""Chunks, segments or tags that are looked at; a file that has more is not an image of a dataset."""
_WIDTH_TAG, _HEIGHT_TAG, _BITS_TAG, _ORIENTATION_TAG = 256, 257, 258, 274
_TILE_WIDTH_TAG, _TILE_HEIGHT_TAG = 322, 323
_NOT_FRAME_HEADERS = {0xC4, 0xC8, 0xCC}
"""JPEG markers between C0 and CF that do not begin a frame (ITU T.81, table B.1)."""
_BARE_MARKERS = {0x01, *range(0xD0, 0xD9)}
"""JPEG markers without content."""
_PNM = re.compile(rb"P[1-6](?:\s|#[^\n]*\n)+(\d{1,9})(?:\s|#[^\n]*\n)+(\d{1,9})\s")
_MARKER = re.compile(rb"\xff+([^\xff\0])")
_SCANNED_BYTES = 4096
"""Where the header of a PNM file ends, comments included; and what may stand before a marker of a JPEG."""


@dataclass(frozen=True)
class ImageHeader:
    """What a header says.

    Attributes:
        width: Columns as they are stored, before any orientation.
        height: Rows likewise.
        bits: Per sample, or per index of a palette, of a PNG; of BMP and TIFF 1, or 8 for all else.
        palette_rgb: Three bytes per index; None without a palette.
        orientation: Of the EXIF standard, 1 to 8: how the stored picture must be turned to be upright.
        tile_pixels: Pixels of a tile, which may be larger than the picture; 0 without tiles.
    """

    width: int
    height: int
    bits: int = 8
    palette_rgb: bytes | None = None
    orientation: int = 1
    tile_pixels: int = 0

    @property
    def pixels(self) -> int:
        """The most that a decoder makes room for."""
        return max(self.width * self.height, self.tile_pixels)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height as stored."""
        return self.width, self.height

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height of the upright picture."""
        return (self.height, self.width) if self.orientation >= 5 else self.size


def read_header(path: Path) -> ImageHeader | None:
    """Reads the header of an image file, some hundred bytes; None if it is of another format, or broken.

    PNG, JPEG, BMP, TIFF, WebP, PBM, PGM and PPM are known by their content, whatever the file is called.
    """
    try:
        with path.open("rb") as file:
            return parse_header(file)
    except OSError:
        return None


def parse_header(file: BinaryIO | bytes) -> ImageHeader | None:
    """Reads the header of an open file, from its beginning, or of what was read of it; see `read_header`."""
    file = io.BytesIO(file) if isinstance(file, bytes) else file
    file.seek(0)
    try:
        header = _parse(file, file.read(32))
    except (struct.error, KeyError, OverflowError):
        return None
    return header if header is not None and header.width > 0 and header.height > 0 else None


def _parse(file: BinaryIO, start: bytes) -> ImageHeader | None:
    if start.startswith(PNG_MAGIC):
        return _png(file)
    if start.startswith(JPEG_MAGIC):
        return _jpeg(file)
    if start.startswith(b"BM"):
        return _bmp(start)
    if start.startswith(b"RIFF") and start[8:12] == b"WEBP":
        return _webp(start)
    if start[:4] in _TIFF_ORDERS:
        tags = _tiff_tags(file, 0)
        bits = tags.get(_BITS_TAG, 1)
        tile = tags.get(_TILE_WIDTH_TAG, 0) * tags.get(_TILE_HEIGHT_TAG, 0)
        return ImageHeader(tags[_WIDTH_TAG], tags[_HEIGHT_TAG], 1 if bits == 1 else 8, None, _turn(tags), tile)
    found = _PNM.match(start + file.read(_SCANNED_BYTES))
    return ImageHeader(int(found[1]), int(found[2])) if found else None


def _bmp(start: bytes) -> ImageHeader:
    (size,) = struct.unpack_from("<I", start, 14)
    width, height, _, bits = struct.unpack_from("<HHHH" if size == 12 else "<iiHH", start, 18)
    return ImageHeader(width, abs(height), 1 if bits == 1 else 8)


def _webp(start: bytes) -> ImageHeader | None:
    """Reads the first chunk of a WebP file (RFC 9649, sections 2.5 to 2.7; RFC 6386, section 9.1)."""
    kind = start[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(start[place : place + 3], "little") + 1 for place in (24, 27))
        return ImageHeader(width, height)
    if kind == b"VP8L":
        (sizes,) = struct.unpack_from("<I", start, 21)
        return ImageHeader((sizes & 0x3FFF) + 1, (sizes >> 14 & 0x3FFF) + 1)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", start, 26)
        return ImageHeader(width & 0x3FFF, height & 0x3FFF)
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
    orientation = 1
    file.seek(2)
    for _ in range(_MOST_PARTS):
        marker = _jpeg_marker(file)
        if marker in _BARE_MARKERS:
            continue
        (length,) = struct.unpack(">H", file.read(2))
        place = file.tell()
        if 0xC0 <= marker <= 0xCF and marker not in _NOT_FRAME_HEADERS:
            bits, height, width = struct.unpack(">BHH", file.read(5))
            return ImageHeader(width, height, bits, None, orientation)
        if marker == 0xE1 and file.read(6) == b"Exif\0\0":
            orientation = _turn(_tiff_tags(file, place + 6))
        file.seek(place + length - 2)
    return None


def _jpeg_marker(file: BinaryIO) -> int:
    """Returns the next marker; some bytes before it are skipped, as decoders do."""
    block = file.read(_SCANNED_BYTES)
    found = _MARKER.search(block)
    if found is None:
        raise struct.error
    file.seek(found.end() - len(block), io.SEEK_CUR)
    return found[1][0]


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
    tags: dict[int, int] = {}
    for place in range(0, len(entries) - 11, 12):
        tag, kind, values = struct.unpack_from(order + "HHI", entries, place)
        if kind in (3, 4):  # numbers of 16 or 32 bits
            (number,) = struct.unpack_from(order + ("H" if kind == 3 else "I"), entries, place + 8)
            tags.setdefault(tag, number if values == 1 else 0)  # decoders take the first as well
    return tags


def _turn(tags: dict[int, int]) -> int:
    orientation = tags.get(_ORIENTATION_TAG, 1)
    return orientation if 1 <= orientation <= 8 else 1
