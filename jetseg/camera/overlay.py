"""Draws class colors and the live figures over a frame."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
import numpy.typing as npt

from jetseg.camera.task_pictures import color_table, draw_tasks
from jetseg.manifest import Manifest
from jetseg.monitor.statistics import LoopStatistics
from jetseg.postprocess import ClassMap, TaskMap
from jetseg.preprocess import FrameU8

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_OUTLINED_WIDTH = 512
_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)


class Overlay:
    """Blends a network's class colors over frames; void darkens the frame.

    Args:
        manifest: The network's manifest, for class names and colors.
        alpha: Weight of the colors, 0 (none) to 1 (colors alone).
        legend: Draw a list of the classes at the left edge.
    """

    def __init__(self, manifest: Manifest, alpha: float, *, legend: bool = False) -> None:
        self._manifest, self._alpha = manifest, alpha
        self._table = color_table(manifest)
        self._legend = _legend(manifest) if legend else None

    def draw(
        self,
        frame_hwc_u8: FrameU8,
        class_map_hw_u8: ClassMap,
        statistics: LoopStatistics | None = None,
        further: Mapping[str, TaskMap] | None = None,
    ) -> FrameU8:
        """Returns a new picture; the frame is not changed.

        Args:
            frame_hwc_u8: height x width x 3, BGR.
            class_map_hw_u8: Class ids, any size; resized by nearest neighbor.
            statistics: Rate, frame age and mIoU to write at the top; nothing if not given.
            further: Maps of the network's other tasks.
        """
        # coloring before resizing touches the fewer pixels of the two sizes in the usual case
        colors = cv2.LUT(cv2.cvtColor(class_map_hw_u8, cv2.COLOR_GRAY2BGR), self._table)
        picture = self._blend(frame_hwc_u8, np.asarray(colors, dtype=np.uint8))
        if further:
            draw_tasks(picture, further, self._manifest, self._alpha)
        if self._legend is not None:
            _paste(self._legend, picture)
        if statistics is not None:
            _write_line(picture, figures_line(statistics))
        return picture

    def _blend(self, frame_hwc_u8: FrameU8, colors_hwc_u8: FrameU8) -> FrameU8:
        """Returns the frame under the colors, which it stretches to its size."""
        height, width = frame_hwc_u8.shape[:2]
        rows, rest = divmod(height, colors_hwc_u8.shape[0])
        stretched = (width, height if rest else height // rows)
        if colors_hwc_u8.shape[1::-1] != stretched:
            colors_hwc_u8 = np.asarray(
                cv2.resize(colors_hwc_u8, stretched, interpolation=cv2.INTER_NEAREST), dtype=np.uint8
            )
        # where each row of colors covers a whole number of rows, it is blended with each of them, and never copied
        lines = (-1, 1 if rest else rows, width * 3)
        picture, colors = np.empty_like(frame_hwc_u8, order="C"), colors_hwc_u8.reshape(-1, width * 3)
        framed, drawn = frame_hwc_u8.reshape(lines), picture.reshape(lines)
        for row in range(lines[1]):
            cv2.addWeighted(framed[:, row], 1 - self._alpha, colors, self._alpha, 0, dst=drawn[:, row])
        return picture


def outline(frame_hwc_u8: FrameU8, class_map_hw_u8: ClassMap, manifest: Manifest) -> FrameU8:
    """Draws the outlines of all classes but the first over a frame, so that what is inside can be seen.

    Args:
        frame_hwc_u8: height x width x 3, BGR; a small one is enlarged.
        class_map_hw_u8: Class ids, any size.
        manifest: The network's manifest, for the colors.

    Returns:
        A new picture, BGR, of the frame's proportions.
    """
    height, width = frame_hwc_u8.shape[:2]
    factor = max(1, _OUTLINED_WIDTH // width)
    size = (width * factor, height * factor)
    picture = cv2.resize(frame_hwc_u8, size, interpolation=cv2.INTER_LINEAR)
    ids = cv2.resize(class_map_hw_u8, size, interpolation=cv2.INTER_NEAREST)
    for number, color in enumerate(manifest.colors):
        if number:
            mask = np.asarray(ids == number).view(np.uint8)
            outlines, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(picture, outlines, -1, color[::-1], 1)
    return np.asarray(picture, dtype=np.uint8)


def figures_line(statistics: LoopStatistics) -> str:
    """Writes rate, frame age and mIoU of a running loop as one short line."""
    parts = []
    if (rate := statistics.rate.recent_frames_per_second) is not None:
        parts.append(f"{rate:.1f} fps")
    if (age := statistics.frame_age.latest) is not None:
        parts.append(f"age {age * 1e3:.0f} ms")
    if statistics.accuracy is not None and (miou := statistics.accuracy.score().miou) is not None:
        parts.append(f"mIoU {miou:.1f}")
    return "   ".join(parts)


def _write_line(picture: FrameU8, text: str) -> None:
    scale = max(0.35, picture.shape[0] / 900)
    thickness = max(1, round(scale * 1.6))
    (width, height), baseline = cv2.getTextSize(text, _FONT, scale, thickness)
    margin = height // 2
    corner = (width + 2 * margin, height + baseline + margin)
    cv2.rectangle(picture, (0, 0), corner, _BLACK, cv2.FILLED)
    cv2.putText(picture, text, (margin, height + margin), _FONT, scale, _WHITE, thickness, cv2.LINE_AA)


def _legend(manifest: Manifest) -> npt.NDArray[np.uint8]:
    """Draws the class list once: a swatch and a name per row."""
    scale, row = 0.4, 16
    widths = [cv2.getTextSize(name, _FONT, scale, 1)[0][0] for name in manifest.classes]
    strip = np.zeros((row * manifest.num_classes + 4, row + max(widths) + 10, 3), dtype=np.uint8)
    for index, (name, (red, green, blue)) in enumerate(zip(manifest.classes, manifest.colors, strict=True)):
        top = row * index + 4
        cv2.rectangle(strip, (4, top), (row, top + row - 5), (blue, green, red), cv2.FILLED)
        cv2.putText(strip, name, (row + 5, top + row - 6), _FONT, scale, _WHITE, 1, cv2.LINE_AA)
    return strip


def _paste(strip: npt.NDArray[np.uint8], picture: FrameU8) -> None:
    """Copies the strip to the lower left corner, cut where the picture ends."""
    height, width = min(strip.shape[0], picture.shape[0]), min(strip.shape[1], picture.shape[1])
    picture[picture.shape[0] - height :, :width] = strip[:height, :width]
