"""Reads frames and label images, and checks each of them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from jetseg.data.image_file import FRAME_FLAGS, decode_image, read_image_file
from jetseg.errors import DataError
from jetseg.input_spec import FrameWindow
from jetseg.postprocess import ClassMap
from jetseg.preprocess import FrameU8, window_frame

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm"})
LABEL_SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".pgm")
"""Formats that keep every id; JPEG does not."""

Reading = Literal["index", "gray"]
"""What a pixel value of a label is, where the two differ: see `jetseg.data.label_reading`."""

_UNKNOWN = -1


class LabelCode:
    """How pixel values of a label image become class ids.

    Args:
        num_classes: Number of classes; without `values`, pixel values 0 to num_classes - 1 are the ids.
        ignore_index: Id that is not scored; also a valid pixel value without `values`.
        values: Class id (or ignore_index) of each pixel value that may occur.
    """

    def __init__(self, num_classes: int, ignore_index: int | None, values: Mapping[int, int] | None = None) -> None:
        if values is None:
            values = {value: value for value in range(num_classes)}
            if ignore_index is not None:
                values[ignore_index] = ignore_index
        self.values = dict(values)
        self._table = np.full(256, _UNKNOWN, dtype=np.int16)
        for value, class_id in self.values.items():
            self._table[value] = class_id
        self._identity = all(value == class_id for value, class_id in self.values.items())

    def class_ids(self, pixels_hw_u8: npt.NDArray[np.uint8], path: Path) -> ClassMap:
        """Turns pixel values into class ids.

        Args:
            pixels_hw_u8: Pixel values, H x W.
            path: Named in the error.

        Raises:
            DataError: A pixel value has no class.
        """
        present = np.flatnonzero(np.bincount(pixels_hw_u8.ravel(), minlength=256))
        strangers = [int(value) for value in present if self._table[value] == _UNKNOWN]
        if strangers:
            known = ", ".join(str(value) for value in sorted(self.values))
            raise DataError(
                f"{path} holds label id {_listed(strangers)}, but this dataset knows only {known}.",
                "Correct the label file, or the classes, ignore_index or label_values of the dataset.",
            )
        if self._identity:
            return pixels_hw_u8
        return np.asarray(cv2.LUT(pixels_hw_u8, self._table.astype(np.uint8)), dtype=np.uint8)


def read_frame(path: Path, window: FrameWindow | None = None) -> FrameU8:
    """Reads an image file as a BGR frame, upright by its EXIF orientation.

    Gray images get three equal channels, and an alpha channel is dropped. Values of 8 bits are taken as they are.

    Args:
        path: The file.
        window: Which values of a deeper image become 0 to 255.

    Returns:
        uint8, H x W x 3.

    Raises:
        DataError: The file is missing or corrupt, has more than 8 bits and there is no window, or holds values that
            are not numbers.
    """
    content, _ = read_image_file(path)
    image = decode_image(path, content, FRAME_FLAGS)
    if image.dtype == np.uint8:
        return np.asarray(image, dtype=np.uint8)
    return window_frame(image, window, str(path))


def read_label(path: Path, code: LabelCode, reading: Reading = "index") -> ClassMap:
    """Reads a label image as a class map.

    Args:
        path: The file.
        code: What becomes of a pixel value.
        reading: Whether a pixel's value is its index, in a palette or by its bits, or its gray value; see
            `jetseg.data.label_reading.decide_reading`.

    Returns:
        uint8, H x W.

    Raises:
        DataError: The file is missing or corrupt, is a color picture, or holds a value without a class.
    """
    return code.class_ids(label_pixels(path, reading), path)


def label_pixels(path: Path, reading: Reading) -> npt.NDArray[np.uint8]:
    """Reads the pixel values of a label image; see `read_label`.

    Returns:
        uint8, H x W.
    """
    content, header = read_image_file(path)
    levels = 255
    if reading == "index" and header.bits < 8:
        levels = (1 << header.bits) - 1  # which OpenCV stretches to 0..255
    if reading == "index" and header.palette_rgb is not None:
        content = _palette_as_gray(content)
    image = decode_image(path, content, cv2.IMREAD_UNCHANGED)
    if image.ndim == 3 and not np.array_equal(image[..., :1].repeat(2, axis=2), image[..., 1:3]):
        raise DataError(
            f"{path} is a color picture, but a label image must hold one class id per pixel.",
            "Convert the colors to ids (single-channel PNG) and point the dataset at the result.",
        )
    plane = image if image.ndim == 2 else image[..., 0]
    if plane.dtype != np.uint8 and not (_whole(plane) and plane.max() <= 255 and plane.min() >= 0):
        raise DataError(
            f"{path} holds the label value {plane.max()}, but ids go from 0 to 255.",
            "Save label images with 8 bits per pixel.",
        )
    pixels = np.ascontiguousarray(plane.astype(np.uint8, copy=False))
    if levels == 1:
        return (pixels > 0).astype(np.uint8)
    return pixels // (255 // levels) if levels < 255 else pixels


def upright(label: ClassMap, orientation: int) -> ClassMap:
    """Turns a label as the EXIF orientation of its frame says, 1 to 8.

    >>> upright(np.array([[0, 1, 2]], np.uint8), 6).tolist()
    [[0], [1], [2]]
    """
    turned = label.T if orientation >= 5 else label
    if orientation in (3, 4, 7, 8):
        turned = turned[::-1]
    if orientation in (2, 3, 6, 7):
        turned = turned[:, ::-1]
    return np.ascontiguousarray(turned)


def check_same_size(image_path: Path, image: FrameU8, label_path: Path, label: ClassMap) -> None:
    """Checks that a label covers its image.

    Raises:
        DataError: The sizes differ.
    """
    if image.shape[:2] != label.shape:
        raise DataError(
            f"{image_path} is {image.shape[1]}x{image.shape[0]} pixels, but its label {label_path} is "
            f"{label.shape[1]}x{label.shape[0]}.",
            "Each label must have the size of its image.",
        )


def _palette_as_gray(content: bytes) -> bytes:
    """Rewrites the header of a PNG with a palette so that it decodes to its indices as gray values.

    OpenCV would give the palette's colors; the indices are the class ids. The header is in the PNG
    specification (ISO/IEC 15948), section 11.2.2: byte 24 is the bit depth, byte 25 the color type (3 is
    palette, 0 gray), bytes 29 to 32 the checksum over the chunk's type and data.
    """
    header = bytearray(content[:33])
    header[25] = 0
    header[29:33] = struct.pack(">I", zlib.crc32(bytes(header[12:29])))
    return bytes(header) + _without_palette(content[33:])


def _without_palette(chunks: bytes) -> bytes:
    """Leaves the palette and what hangs on it out of PNG chunks: a gray image must not have them."""
    kept, start = [], 0
    while start + 12 <= len(chunks):
        (length,) = struct.unpack_from(">I", chunks, start)
        end = start + 12 + length
        if chunks[start + 4 : start + 8] not in {b"PLTE", b"tRNS", b"hIST", b"bKGD", b"sBIT"}:
            kept.append(chunks[start:end])
        start = end
    return b"".join(kept)


def _whole(values: npt.NDArray[Any]) -> bool:
    return np.issubdtype(values.dtype, np.integer) or bool(np.all(values == np.floor(values)))


def _listed(values: list[int]) -> str:
    shown = ", ".join(str(value) for value in values[:5])
    return shown + (f" and {len(values) - 5} more" if len(values) > 5 else "")
