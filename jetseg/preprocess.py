"""From a camera frame to a network's input: the only copy, for data, calibration, evaluation and camera."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from jetseg.errors import MissingDependencyError
from jetseg.manifest import InputSpec

try:
    import cv2
except ImportError as error:  # pragma: no cover - depends on the machine
    raise MissingDependencyError("cv2", "cpu", "reads, resizes and draws images") from error

FrameU8 = npt.NDArray[np.uint8]
NetworkInput = npt.NDArray[Any]


class Preprocessor:
    """Turns a frame into a network's input, reusing its buffers between calls.

    Args:
        spec: The input part of the network's manifest.
    """

    def __init__(self, spec: InputSpec) -> None:
        self.spec = spec
        self._tables = _normalization_tables(spec)

    def __call__(self, frame_hwc_u8: FrameU8) -> NetworkInput:
        """Resizes and normalizes one frame.

        Args:
            frame_hwc_u8: Frame, height x width x 3, BGR (OpenCV's order), 0..255, any size.

        Returns:
            float32, 1 x channels x height x width for kind "normalized", with the channels last for layout "nhwc";
            uint8, 1 x height x width x 3 for "frame". A new array at each call, so that pipeline stages may hold it.
        """
        resized = resize_frame(frame_hwc_u8, self.spec.height, self.spec.width)
        if self.spec.kind == "frame":
            ordered = cv2.cvtColor(resized, cv2.COLOR_BGR2RGB) if self.spec.color == "rgb" else resized
            return np.ascontiguousarray(ordered)[None]
        planes = _planes(resized, self.spec.color)
        out = np.empty((1, len(planes), self.spec.height, self.spec.width), dtype=np.float32)
        for channel, (plane, table) in enumerate(zip(planes, self._tables, strict=True)):
            cv2.LUT(plane, table, dst=out[0, channel])
        return out if self.spec.layout == "nchw" else np.ascontiguousarray(np.moveaxis(out, 1, 3))


def resize_frame(frame_hwc_u8: FrameU8, height: int, width: int) -> FrameU8:
    """Resizes a frame: by area when it shrinks, so that thin things do not vanish, else bilinear."""
    if frame_hwc_u8.shape[:2] == (height, width):
        return frame_hwc_u8
    shrinks = height < frame_hwc_u8.shape[0] and width < frame_hwc_u8.shape[1]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(frame_hwc_u8, (width, height), interpolation=interpolation), dtype=np.uint8)


def _planes(frame_hwc_u8: FrameU8, color: str) -> list[FrameU8]:
    if color == "gray":
        return [np.asarray(cv2.cvtColor(frame_hwc_u8, cv2.COLOR_BGR2GRAY), dtype=np.uint8)]
    blue, green, red = (np.asarray(plane, dtype=np.uint8) for plane in cv2.split(frame_hwc_u8))
    return [blue, green, red] if color == "bgr" else [red, green, blue]


def _normalization_tables(spec: InputSpec) -> list[npt.NDArray[np.float32]]:
    """One table of 256 values per channel: pixels have only 256 values, so this is exact and fast."""
    pixels = np.arange(256, dtype=np.float64)
    return [
        ((pixels * spec.scale - mean) / std).astype(np.float32) for mean, std in zip(spec.mean, spec.std, strict=True)
    ]
