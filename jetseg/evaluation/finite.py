"""Whether a network's scores are numbers: NaN and infinity make a class map that looks like any other."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt


def all_finite(output: npt.NDArray[Any]) -> bool:
    """Tells whether no score is NaN or infinite.

    The sum tells it where it cannot overflow. Else bits do: of floats, taken for integers, they grow with the number,
    and only NaN is above infinity. A class map passes: what its scores were is not seen any more.

    >>> all_finite(np.array([1.0, np.nan])), all_finite(np.array([3], np.uint8))
    (False, True)
    """
    if output.dtype.kind != "f" or not output.size:
        return True
    if output.dtype == np.float32 and output.flags.c_contiguous and output.ndim:
        return math.isfinite(cv2.sumElems(output.reshape(-1, output.shape[-1]))[0])  # in double precision
    signed, unsigned = f"i{output.itemsize}", f"u{output.itemsize}"
    infinite = np.array([np.inf, -np.inf], output.dtype)
    highest, lowest = infinite.view(signed)[0], infinite.view(unsigned)[1]
    return bool(output.view(signed).max() < highest and output.view(unsigned).max() < lowest)
