"""From a camera frame to a network's input: the only copy, for data, calibration, evaluation and camera."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from jetseg.errors import DataError, ManifestError, MissingDependencyError
from jetseg.input_spec import FrameWindow, InputSpec

try:
    import cv2
except ImportError as error:  # pragma: no cover - depends on the machine
    raise MissingDependencyError("cv2", "cpu", "reads, resizes and draws images") from error

_MOST_ROWS = 257
"""The sum of so many pixels fits into 16 bits."""

FrameU8 = npt.NDArray[np.uint8]
NetworkInput = npt.NDArray[Any]


class Preprocessor:
    """Turns a frame into a network's input, reusing its buffers between calls.

    Args:
        spec: The input part of the network's manifest.

    Raises:
        ManifestError: Its numbers turn pixels into what is not finite.
    """

    def __init__(self, spec: InputSpec) -> None:
        self.spec = spec
        self._tables = _normalization_tables(spec)

    def __call__(self, frame_hwc_u8: FrameU8) -> NetworkInput:
        """Resizes and normalizes one frame.

        Args:
            frame_hwc_u8: Frame, height x width x 3, BGR (OpenCV's order), 0..255, any size; of another type than uint8
                where the manifest has a window for it.

        Returns:
            float32, 1 x channels x height x width for kind "normalized", with the channels last for layout "nhwc";
            uint8, 1 x height x width x 3 for "frame". A new array at each call, so that pipeline stages may hold it.

        Raises:
            DataError: The frame is not uint8, and the manifest has no window.
        """
        if frame_hwc_u8.dtype != np.uint8:
            frame_hwc_u8 = window_frame(frame_hwc_u8, self.spec.frames, "The frame")
        resized = resize_frame(frame_hwc_u8, self.spec.height, self.spec.width)
        if self.spec.kind == "frame":
            ordered = cv2.cvtColor(resized, cv2.COLOR_BGR2RGB) if self.spec.color == "rgb" else resized
            return np.ascontiguousarray(ordered)[None]
        planes = _planes(resized, self.spec.color)
        out = np.empty((1, len(planes), self.spec.height, self.spec.width), dtype=np.float32)
        for channel, (plane, table) in enumerate(zip(planes, self._tables, strict=True)):
            cv2.LUT(plane, table, dst=out[0, channel])
        return out if self.spec.layout == "nchw" else np.ascontiguousarray(np.moveaxis(out, 1, 3))


def window_frame(frame: npt.NDArray[Any], window: FrameWindow | None, name: str) -> FrameU8:
    """Turns a frame of more than 8 bits into pixels: thermal, raw, HDR.

    Args:
        frame: Integers or floats, H x W, or H x W x channels: 3 in BGR, 4 with alpha, which is dropped.
        window: The values that become 0 and 255; those outside are clipped.
        name: Of the frame, for messages.

    Returns:
        uint8, H x W x 3.

    Raises:
        DataError: There is no window, or values are not numbers.

    >>> window_frame(np.array([[0, 1000, 4095]], np.uint16), FrameWindow(low=0, high=2000), "raw")[..., 0].tolist()
    [[0, 128, 255]]
    """
    if window is None:
        seen = f", here {np.nanmin(frame):g} to {np.nanmax(frame):g}" if not np.isnan(frame).all() else ""
        raise DataError(
            f"{name} holds {frame.dtype} values{seen}, of which a network sees 256 levels.",
            "Say which values count: `frames: {low: 0, high: 4095}` in the dataset's classes.yaml, or under `input` in "
            "the network's manifest, with the numbers of your camera.",
        )
    if frame.ndim not in (2, 3) or (frame.ndim == 3 and frame.shape[2] not in (1, 3, 4)):
        raise DataError(f"{name} has the shape {frame.shape}.", "Give gray or color frames.")
    if frame.dtype.kind == "f" and np.isnan(frame).any():
        raise DataError(f"{name} holds values that are not numbers.", "Replace them before.")
    if frame.dtype == np.uint16:
        pixels = _window_levels(np.arange(1 << 16), window)[frame]
    else:
        pixels = _window_levels(frame, window)
    if pixels.ndim == 2 or pixels.shape[2] == 1:
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR), dtype=np.uint8)
    return np.ascontiguousarray(pixels[..., :3])


def _window_levels(values: npt.NDArray[Any], window: FrameWindow) -> FrameU8:
    clipped = np.clip(values.astype(np.float64), window.low, window.high)
    return np.rint((clipped - window.low) * 255 / (window.high - window.low)).astype(np.uint8)


def resize_frame(frame_hwc_u8: FrameU8, height: int, width: int) -> FrameU8:
    """Resizes a frame: by area when it shrinks, so that thin things do not vanish, else bilinear."""
    if frame_hwc_u8.shape[:2] == (height, width):
        return frame_hwc_u8
    shrinks = height < frame_hwc_u8.shape[0] and width < frame_hwc_u8.shape[1]
    rows, rest = divmod(frame_hwc_u8.shape[0], height)
    halves = rows == 2 and frame_hwc_u8.shape[1] == 2 * width  # which OpenCV does at once
    if shrinks and not rest and rows <= _MOST_ROWS and not halves:
        return _shrink_by_rows(frame_hwc_u8, rows, width)
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(frame_hwc_u8, (width, height), interpolation=interpolation), dtype=np.uint8)


def _shrink_by_rows(frame_hwc_u8: FrameU8, rows: int, width: int) -> FrameU8:
    """Shrinks by area, to one gray level what OpenCV gives, in half the time: whole rows are added first.

    Sums of rows are exact in 16 bits. A halving by bilinear interpolation is the mean of two pixels.
    """
    height, columns = frame_hwc_u8.shape[0] // rows, frame_hwc_u8.shape[1]
    lines = frame_hwc_u8.reshape(height, rows, -1)
    added = np.add(lines[:, 0], lines[:, 1], dtype=np.uint16)
    for row in range(2, rows):
        added += lines[:, row]
    sums: npt.NDArray[Any] = added.reshape(height, *frame_hwc_u8.shape[1:])
    while columns % (2 * width) == 0:
        columns //= 2
        sums = cv2.resize(sums, (columns, height), interpolation=cv2.INTER_LINEAR)
    if columns != width:
        sums = cv2.resize(sums, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.convertScaleAbs(sums, alpha=1 / rows), dtype=np.uint8)


def _planes(frame_hwc_u8: FrameU8, color: str) -> list[FrameU8]:
    if color == "gray":
        return [np.asarray(cv2.cvtColor(frame_hwc_u8, cv2.COLOR_BGR2GRAY), dtype=np.uint8)]
    blue, green, red = (np.asarray(plane, dtype=np.uint8) for plane in cv2.split(frame_hwc_u8))
    return [blue, green, red] if color == "bgr" else [red, green, blue]


def _normalization_tables(spec: InputSpec) -> list[npt.NDArray[np.float32]]:
    """One table of 256 values per channel: pixels have only 256 values, so this is exact and fast."""
    pixels = np.arange(256, dtype=np.float64)
    with np.errstate(over="ignore"):
        tables = [
            ((pixels * spec.scale - mean) / std).astype(np.float32)
            for mean, std in zip(spec.mean, spec.std, strict=True)
        ]
    if not np.isfinite(tables).all():
        raise ManifestError(
            f"scale {spec.scale:g}, mean {spec.mean} and std {spec.std} turn pixels into numbers that float32 does not "
            "hold.",
            "Correct `input` in the manifest.",
        )
    return tables
