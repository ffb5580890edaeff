"""From a message with a picture to a frame: the only place, for buses and recordings alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from jetseg.data.image_file import FRAME_FLAGS, check_image, decode_image
from jetseg.data.image_header import MOST_PIXELS
from jetseg.errors import DataError
from jetseg.input_spec import FrameWindow
from jetseg.preprocess import FrameU8, window_frame
from jetseg.ros.message_types import COMPRESSED_IMAGE, IMAGE, from_cdr
from jetseg.ros.stamp import SECOND, Stamp


@dataclass(frozen=True)
class Picture:
    """A picture that came in a message.

    Attributes:
        image_hwc_u8: height x width x 3, BGR, 0..255; an array of its own.
        stamp: What its header says.
    """

    image_hwc_u8: FrameU8
    stamp: Stamp


@dataclass(frozen=True)
class _Encoding:
    """How the bytes of a picture become BGR; `rows` are rows of `columns` numbers for each row of pixels."""

    dtype: str
    columns: int
    convert: Callable[[npt.NDArray[Any]], Any] | int | None
    rows: float = 1.0
    even: bool = False


def _shaped(channels: int, code: int | None) -> Callable[[npt.NDArray[Any]], Any]:
    def convert(pixels: npt.NDArray[Any]) -> Any:  # noqa: ANN401 - OpenCV's own
        shaped = pixels.reshape(pixels.shape[0], -1, channels)
        return shaped.copy() if code is None else cv2.cvtColor(shaped, code)

    return convert


_ENCODINGS = {
    "bgr8": _Encoding("u1", 3, _shaped(3, None)),
    "8UC3": _Encoding("u1", 3, _shaped(3, None)),
    "rgb8": _Encoding("u1", 3, _shaped(3, cv2.COLOR_RGB2BGR)),
    "bgra8": _Encoding("u1", 4, _shaped(4, cv2.COLOR_BGRA2BGR)),
    "rgba8": _Encoding("u1", 4, _shaped(4, cv2.COLOR_RGBA2BGR)),
    "mono8": _Encoding("u1", 1, cv2.COLOR_GRAY2BGR),
    "8UC1": _Encoding("u1", 1, cv2.COLOR_GRAY2BGR),
    "mono16": _Encoding("u2", 1, None),
    "16UC1": _Encoding("u2", 1, None),
    # OpenCV names a pattern by its second row
    "bayer_rggb8": _Encoding("u1", 1, cv2.COLOR_BayerBG2BGR, even=True),
    "bayer_bggr8": _Encoding("u1", 1, cv2.COLOR_BayerRG2BGR, even=True),
    "bayer_gbrg8": _Encoding("u1", 1, cv2.COLOR_BayerGR2BGR, even=True),
    "bayer_grbg8": _Encoding("u1", 1, cv2.COLOR_BayerGB2BGR, even=True),
    "yuv422": _Encoding("u1", 2, _shaped(2, cv2.COLOR_YUV2BGR_UYVY), even=True),
    "uyvy": _Encoding("u1", 2, _shaped(2, cv2.COLOR_YUV2BGR_UYVY), even=True),
    "yuv422_yuy2": _Encoding("u1", 2, _shaped(2, cv2.COLOR_YUV2BGR_YUY2), even=True),
    "yuyv": _Encoding("u1", 2, _shaped(2, cv2.COLOR_YUV2BGR_YUY2), even=True),
    "nv12": _Encoding("u1", 1, cv2.COLOR_YUV2BGR_NV12, rows=1.5, even=True),
    "nv21": _Encoding("u1", 1, cv2.COLOR_YUV2BGR_NV21, rows=1.5, even=True),
}


def read_picture(content: bytes | memoryview, message_type: str, window: FrameWindow | None = None) -> Picture:
    """Reads a message with a picture.

    Args:
        content: The message, as CDR.
        message_type: `message_types.IMAGE` or `COMPRESSED_IMAGE`.
        window: Which values of pictures of more than 8 bits become 0 to 255.

    Raises:
        DataError: The bytes are no such message; or size, step, encoding and data do not fit each other; or the
            encoding is not known; or it has more than 8 bits and there is no window.

    >>> from jetseg.ros.messages import image_message
    >>> from jetseg.ros.message_types import to_cdr
    >>> message = image_message(np.full((2, 2), 7, np.uint8), "mono8", Stamp(1_500_000_000, "front"))
    >>> picture = read_picture(to_cdr(message), "sensor_msgs/msg/Image")
    >>> picture.image_hwc_u8.tolist()[0], picture.stamp
    ([[7, 7, 7], [7, 7, 7]], Stamp(nanoseconds=1500000000, frame_id='front'))
    """
    if message_type not in (IMAGE, COMPRESSED_IMAGE):
        raise DataError(f"{message_type} is not a picture.", f"Use a topic of {IMAGE} or {COMPRESSED_IMAGE}.")
    message = from_cdr(content, message_type)
    image = _decompress(message, window) if message_type == COMPRESSED_IMAGE else _unpack(message, window)
    stamp = message.header.stamp
    return Picture(image, Stamp(stamp.sec * SECOND + stamp.nanosec, message.header.frame_id))


def _unpack(message: Any, window: FrameWindow | None) -> FrameU8:  # noqa: ANN401 - of rosbags' classes
    encoding, height, width = _ENCODINGS.get(message.encoding), message.height, message.width
    size = f"A picture of {width}x{height} pixels ({message.encoding[:40]})"
    if encoding is None:
        raise DataError(
            f"A picture has the encoding {message.encoding[:40]!r}, which is not known.",
            f"Publish one of: {', '.join(_ENCODINGS)}; or compressed as JPEG or PNG.",
        )
    if not height or not width or height * width > MOST_PIXELS or (encoding.even and (height % 2 or width % 2)):
        raise DataError(f"{size} cannot be.", "Correct the publisher.")
    dtype = np.dtype(encoding.dtype).newbyteorder(">" if message.is_bigendian else "<")
    rows, row_bytes = int(height * encoding.rows), width * encoding.columns * dtype.itemsize
    if message.step < row_bytes or message.step % dtype.itemsize or message.step * rows != len(message.data):
        raise DataError(
            f"{size} has rows of {message.step} bytes and {len(message.data)} bytes in all; {row_bytes} and "
            f"{message.step * rows} were expected.",
            "Correct the publisher.",
        )
    stored = message.data.view(dtype).reshape(rows, message.step // dtype.itemsize)
    pixels = np.ascontiguousarray(stored[:, : width * encoding.columns])
    if encoding.convert is None:
        return window_frame(pixels.astype(np.uint16), window, size)
    converted = (
        cv2.cvtColor(pixels, encoding.convert) if isinstance(encoding.convert, int) else encoding.convert(pixels)
    )
    return np.asarray(converted, dtype=np.uint8)


def _decompress(message: Any, window: FrameWindow | None) -> FrameU8:  # noqa: ANN401
    name, content = f"A compressed picture ({message.format[:40]})", bytes(message.data)
    check_image(name, content)
    image = decode_image(name, content, FRAME_FLAGS)
    if image.dtype == np.uint8:
        return np.asarray(image, dtype=np.uint8)
    return window_frame(image, window, name)
