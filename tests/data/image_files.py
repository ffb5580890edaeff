"""Image files byte by byte, as tools and optimizers write them and OpenCV does not."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np


def chunk(kind: bytes, content: bytes) -> bytes:
    """Makes a chunk of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(values: np.ndarray, bits: int, palette: bytes | None = None, extra: bytes = b"") -> bytes:
    """Makes a PNG of indices into a palette, or of gray values, with so many bits per pixel."""
    color_type = 0 if palette is None else 3
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], bits, color_type, 0, 0, 0)
    rows = b""
    for row in values:
        digits = "".join(f"{int(value):0{bits}b}" for value in row)
        digits += "0" * (-len(digits) % 8)
        rows += b"\0" + int(digits, 2).to_bytes(len(digits) // 8, "big")
    plte = b"" if palette is None else chunk(b"PLTE", palette)
    data = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + plte + extra + data


def optimized(ids: np.ndarray) -> bytes:
    """Stores gray values as an optimizer does: as indices into a palette of the values that occur."""
    levels, indices = np.unique(ids, return_inverse=True)
    bits = next(bits for bits in (1, 2, 4, 8) if len(levels) <= 1 << bits)
    return png(indices.reshape(ids.shape), bits, levels.astype(np.uint8).repeat(3).tobytes())


def turned_jpeg(pixels: np.ndarray, orientation: int) -> bytes:
    """Makes a JPEG that says by EXIF how it must be turned to be upright."""
    entry = struct.pack(">HHIHH", 274, 3, 1, orientation, 0)
    exif = b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 1) + entry + struct.pack(">I", 0)
    content = cv2.imencode(".jpg", pixels)[1].tobytes()
    return content[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + content[2:]
