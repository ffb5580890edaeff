"""The messages that jetseg sends and records: the only place that makes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from jetseg.errors import DeviceError
from jetseg.ros.message_types import COMPRESSED_IMAGE, DIAGNOSTICS, IMAGE, LABEL_INFO, make
from jetseg.ros.stamp import SECOND, Stamp

_LEVELS = {"ok": 0, "warning": 1, "error": 2, "stale": 3}
_JPEG = (cv2.IMWRITE_JPEG_QUALITY, 85)
_PNG = (cv2.IMWRITE_PNG_COMPRESSION, 1)
Level = Literal["ok", "warning", "error", "stale"]


def image_message(image: npt.NDArray[Any], encoding: str, stamp: Stamp) -> Any:  # noqa: ANN401 - of rosbags' classes
    """Makes a sensor_msgs/Image.

    Args:
        image: H x W or H x W x channels, as the encoding says.
        encoding: As in "mono8", "bgr8" or "32FC1" (little endian).
        stamp: Of the frame that it belongs to.
    """
    rows = np.ascontiguousarray(image).reshape(image.shape[0], -1)
    return make(
        IMAGE,
        header=_header(stamp),
        height=image.shape[0],
        width=image.shape[1],
        encoding=encoding,
        is_bigendian=0,
        step=rows.shape[1] * rows.itemsize,
        data=rows.view(np.uint8).reshape(-1),
    )


def compressed_message(image_hwc_u8: npt.NDArray[np.uint8], stamp: Stamp, *, lossless: bool = False) -> Any:  # noqa: ANN401
    """Makes a sensor_msgs/CompressedImage of a BGR picture, as JPEG, or lossless as PNG.

    Raises:
        DeviceError: OpenCV was built without the format.
    """
    kind = "png" if lossless else "jpeg"
    good, content = cv2.imencode(f".{kind}", np.ascontiguousarray(image_hwc_u8), _PNG if lossless else _JPEG)
    if not good:
        raise DeviceError(f"OpenCV could not encode a picture as {kind}.", f"Use a build of OpenCV with {kind}.")
    return make(
        COMPRESSED_IMAGE,
        header=_header(stamp),
        format=f"bgr8; {kind} compressed bgr8",
        data=np.asarray(content, dtype=np.uint8).reshape(-1),
    )


def label_info_message(classes: Sequence[str], stamp: Stamp) -> Any:  # noqa: ANN401
    """Makes a vision_msgs/LabelInfo: which id is which class."""
    named = [
        make("vision_msgs/msg/VisionClass", class_id=number, class_name=name) for number, name in enumerate(classes)
    ]
    return make(LABEL_INFO, header=_header(stamp), class_map=named, threshold=0.0)


def diagnostics_message(
    name: str, level: Level, text: str, values: Mapping[str, object], stamp: Stamp, hardware: str = ""
) -> Any:  # noqa: ANN401
    """Makes a diagnostic_msgs/DiagnosticArray with one status.

    Args:
        name: Of what is diagnosed, as in "jetseg: camera loop".
        level: How it is.
        text: Said in a sentence.
        values: Figures, with units in their names.
        stamp: When.
        hardware: What it runs on.
    """
    pairs = [make("diagnostic_msgs/msg/KeyValue", key=key, value=str(value)) for key, value in values.items()]
    status = make(
        "diagnostic_msgs/msg/DiagnosticStatus",
        level=_LEVELS[level],
        name=name,
        message=text,
        hardware_id=hardware,
        values=pairs,
    )
    return make(DIAGNOSTICS, header=_header(stamp), status=[status])


def _header(stamp: Stamp) -> Any:  # noqa: ANN401
    seconds, nanoseconds = divmod(stamp.nanoseconds, SECOND)
    time = make("builtin_interfaces/msg/Time", sec=seconds, nanosec=nanoseconds)
    return make("std_msgs/msg/Header", stamp=time, frame_id=stamp.frame_id)
