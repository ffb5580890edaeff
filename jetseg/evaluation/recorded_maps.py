"""Class maps of a network on some frames, kept to be compared with those of others on the same frames."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from jetseg.postprocess import ClassMap
from jetseg.preprocess import FrameU8

Predict = Callable[[FrameU8], ClassMap]
"""Turns a frame (uint8, BGR, H x W x 3) into a class map."""


class RecordedMaps:
    """Class maps in the order of their frames, as PNG in memory: some kilobytes each.

    >>> maps = RecordedMaps()
    >>> predict = maps.record(lambda frame: frame[..., 0])
    >>> frames = [np.full((2, 3, 3), value, np.uint8) for value in (4, 7)]
    >>> given = [predict(frame) for frame in frames]
    >>> again = maps.replay()
    >>> [again(frame).tolist() for frame in frames] == [ids.tolist() for ids in given]
    True
    """

    def __init__(self) -> None:
        self._kept: list[bytes] = []

    def record(self, predict: Predict) -> Predict:
        """Returns a predictor whose class maps are kept."""

        def kept(frame_hwc_u8: FrameU8) -> ClassMap:
            ids = predict(frame_hwc_u8)
            self._kept.append(cv2.imencode(".png", ids)[1].tobytes())
            return ids

        return kept

    def replay(self) -> Predict:
        """Returns a predictor that gives the class maps again; it must see the same frames in the same order."""
        remaining = iter(self._kept)

        def again(frame_hwc_u8: FrameU8) -> ClassMap:
            del frame_hwc_u8
            return np.asarray(cv2.imdecode(np.frombuffer(next(remaining), np.uint8), cv2.IMREAD_UNCHANGED), np.uint8)

        return again
