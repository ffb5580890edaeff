"""Depth in whole steps of 16 bits, for those who give it on as a picture."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from jetseg.postprocess import DepthMap

_PER_UNIT = 256


def depth_steps(depth_hw: DepthMap) -> npt.NDArray[np.uint16]:
    """Returns depth in 1/256 of its unit, 0 where it is not a number, as KITTI has it.

    >>> depth_steps(np.array([[1.0, 2.5, np.nan, np.inf, 300.0]], np.float32)).tolist()
    [[256, 640, 0, 0, 65535]]
    """
    steps = np.nan_to_num(depth_hw, posinf=0, neginf=0) * _PER_UNIT
    return np.rint(np.clip(steps, 0, np.iinfo(np.uint16).max)).astype(np.uint16)
