"""Draws the further tasks of a network over a frame: masks as a tint, depth as a small picture in the corner."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
import numpy.typing as npt

from jetseg.manifest import Manifest
from jetseg.output_spec import DepthSpec
from jetseg.postprocess import ClassMap, DepthMap, TaskMap, resize_task_map
from jetseg.preprocess import FrameU8

_TINTS = ((80, 220, 80), (240, 120, 240), (60, 200, 250), (250, 180, 60))
"""BGR of the second class of each binary task, in turn."""
_CORNER = 3
"""The depth picture is so many times smaller than the frame."""
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw_tasks(picture: FrameU8, maps: Mapping[str, TaskMap], manifest: Manifest, alpha: float) -> None:
    """Draws the maps of the further tasks into a picture.

    Args:
        picture: height x width x 3, BGR; painted over.
        maps: By the task's name, without the main one.
        manifest: The network's.
        alpha: Weight of the colors, 0 to 1.
    """
    insets = 0
    for number, output in enumerate(manifest.outputs[1:]):
        found = maps.get(output.label)
        if found is None:
            continue
        if output.task == "binary":
            _tint(picture, found.astype(np.uint8, copy=False), _TINTS[number % len(_TINTS)], alpha)
            continue
        if output.depth is not None:
            inset = depth_picture(found.astype(np.float32, copy=False), output.depth)
        else:
            inset = _classes(found.astype(np.uint8, copy=False), manifest.tasks[number + 1])
        _put_corner(picture, inset, output.label, insets)
        insets += 1


def depth_picture(depth_hw: DepthMap, spec: DepthSpec) -> FrameU8:
    """Colors depth by its logarithm, near red, far blue; black where it is not a number.

    >>> picture = depth_picture(np.array([[1.0, 100.0, np.nan]], np.float32), DepthSpec(low=1, high=100))
    >>> bool(picture[0, 0, 2] > picture[0, 0, 0]), picture[0, 2].tolist()
    (True, [0, 0, 0])
    """
    known = np.isfinite(depth_hw)
    share = np.log(np.where(known, depth_hw, spec.high) / spec.low) / np.log(spec.high / spec.low)
    levels = (235 - 220 * np.clip(share, 0, 1)).astype(np.uint8)
    picture = np.array(cv2.applyColorMap(levels, cv2.COLORMAP_TURBO), dtype=np.uint8)
    picture[~known] = 0
    return picture


def color_table(manifest: Manifest) -> npt.NDArray[np.uint8]:
    """Returns the BGR color of each id, 256 x 1 x 3 as `cv2.LUT` takes it; black for ids beyond the classes."""
    table = np.zeros((256, 1, 3), dtype=np.uint8)
    table[: manifest.num_classes, 0] = np.array(manifest.colors, dtype=np.uint8)[:, ::-1]
    return table


def _tint(picture: FrameU8, mask_hw: ClassMap, color: tuple[int, int, int], alpha: float) -> None:
    mask = resize_task_map(mask_hw, *picture.shape[:2]) == 1
    levels = np.arange(256)[:, None, None]
    table = np.rint((1 - alpha / 2) * levels + alpha / 2 * np.array(color)).astype(np.uint8)
    cv2.copyTo(cv2.LUT(picture, table), mask.view(np.uint8), picture)


def _classes(ids: ClassMap, task: Manifest) -> FrameU8:
    """Colors a further class map."""
    return np.asarray(cv2.LUT(cv2.cvtColor(ids, cv2.COLOR_GRAY2BGR), color_table(task)), dtype=np.uint8)


def _put_corner(picture: FrameU8, inset: FrameU8, name: str, place: int) -> None:
    """Puts a smaller picture at the lower right, each further one left of the one before."""
    height, width = picture.shape[0] // _CORNER, picture.shape[1] // _CORNER
    right = picture.shape[1] - place * width
    if right < width:
        return
    small = np.array(cv2.resize(inset, (width, height), interpolation=cv2.INTER_NEAREST), dtype=np.uint8)
    cv2.putText(small, name, (4, height - 5), _FONT, max(0.3, height / 260), (255, 255, 255), 1, cv2.LINE_AA)
    picture[picture.shape[0] - height :, right - width : right] = small
