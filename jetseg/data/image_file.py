"""Image files on their way to the decoder: read whole, bounded before anything is decoded, and decoded here only."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from jetseg.data.image_header import JPEG_MAGIC, MOST_PIXELS, PNG_MAGIC, ImageHeader, parse_header
from jetseg.errors import DataError, OutOfMemoryError

FRAME_FLAGS = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
_TIFF_MAGICS = b"II*\0", b"MM\0*"
_MOST_BYTES = 16 * MOST_PIXELS
"""The most that a file may have: four channels of 32 bits, uncompressed."""


def read_image_file(path: Path) -> tuple[bytes, ImageHeader]:
    """Reads an image file, after a look at its header.

    Returns:
        Its bytes, and what their header says.

    Raises:
        DataError: It is missing, truncated, not an image, or one that would fill the memory.
    """
    try:
        with path.open("rb") as file:
            _check_size(path, parse_header(file))
            file.seek(0)
            content = file.read(_MOST_BYTES + 1) if os.fstat(file.fileno()).st_size <= _MOST_BYTES else None
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist.", "Copy the dataset again.") from error
    except OSError as error:
        raise DataError(f"{path} could not be read: {error.strerror or error}.") from error
    if content is None:
        raise DataError(f"{path} has more than {_MOST_BYTES // 1_000_000} MB, too much for an image.", "Leave it out.")
    return content, check_image(path, content)


def check_image(name: Path | str, content: bytes) -> ImageHeader:
    """Looks at an image before it is decoded.

    Args:
        name: Named in the error.
        content: An image file's bytes.

    Returns:
        What their header says.

    Raises:
        DataError: They are truncated, not an image, or one that would fill the memory.
    """
    header = parse_header(content)  # of what is decoded
    _check_size(name, header)
    # Older OpenCV decodes the part of a truncated file that is there and says nothing.
    truncated = (content.startswith(PNG_MAGIC) and not _has_all_chunks(content)) or (
        content.startswith(JPEG_MAGIC) and content.find(b"\xff\xd9", content.find(b"\xff\xda") + 1) < 0
    )
    if truncated or not content:
        raise DataError(
            f"{name} is {'truncated' if content else 'empty'} ({len(content)} bytes).", "Copy the file again."
        )
    if header is None:
        raise _not_an_image(name)
    return header


def _has_all_chunks(content: bytes) -> bool:
    """Tells whether all chunks of a PNG lie in the file: OpenCV takes memory for as much as each of them states."""
    place = len(PNG_MAGIC)
    while place + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, place)
        place += 12 + length
        if kind == b"IEND":
            return bool(place <= len(content))
    return False


def _check_size(name: Path | str, header: ImageHeader | None) -> None:
    if header is not None and header.pixels > MOST_PIXELS:
        tiled = header.tile_pixels > MOST_PIXELS
        size = f"tiles of {header.tile_pixels}" if tiled else f"{header.width}x{header.height}"
        raise DataError(
            f"{name} has {size} pixels, more than {MOST_PIXELS // 1_000_000} million.",
            "Make it smaller, or cut it into several images.",
        )


def decode_image(name: Path | str, content: bytes, flags: int) -> npt.NDArray[Any]:
    """Decodes what `check_image` or `read_image_file` has looked at, or a variant of it with the same header.

    Args:
        name: Named in the error.
        content: The file's bytes.
        flags: Of OpenCV.

    Raises:
        DataError: It is corrupt.
        OutOfMemoryError: The memory does not suffice.
    """
    data = np.frombuffer(content, dtype=np.uint8)
    try:
        if flags == FRAME_FLAGS and content.startswith(_TIFF_MAGICS):
            # into color OpenCV converts no number of more than 16 bits
            image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
            flags = cv2.IMREAD_COLOR if image is not None and image.dtype == np.uint8 else cv2.IMREAD_UNCHANGED
        image = cv2.imdecode(data, flags)
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise OutOfMemoryError(f"the image {name}") from error
        raise DataError(f"{name} could not be decoded: {error}.", "Copy the file again.") from error
    if image is None:
        raise _not_an_image(name)
    return image


def _not_an_image(name: Path | str) -> DataError:
    return DataError(
        f"{name} is corrupt or not an image.", "Copy the file again; PNG, JPEG, BMP, TIFF, WebP, PGM and PPM are read."
    )
