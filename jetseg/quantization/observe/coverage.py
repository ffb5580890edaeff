"""Tells whether there were enough calibration images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from jetseg.quantization.ranges import Coverage

LARGEST_GROWTH_PERCENT = 2.0
"""Ranges that still grow by more than this over the last quarter of the images are not settled."""
_DOMINANCE = 2.0
FEWEST_IMAGES = 8


def coverage(amax_by_frame: Mapping[str, Sequence[float]]) -> Coverage:
    """Looks at how ranges settled while images came in.

    Args:
        amax_by_frame: Largest magnitude in each frame, in order, by tensor.

    >>> coverage({"x": [1.0, 1.0, 1.0, 3.0]})
    Coverage(growth_percent=200.0, dominated=('x',))
    """
    dominated = []
    for name, values in amax_by_frame.items():
        ordered = sorted(values)
        if len(ordered) > 1 and ordered[-1] > _DOMINANCE * ordered[-2] > 0:
            dominated.append(name)
    return Coverage(growth_percent=_growth_percent(amax_by_frame), dominated=tuple(dominated))


def warnings(found: Coverage, frames: int) -> list[str]:
    """Returns what a user should know about the images, as sentences."""
    messages = []
    if frames < FEWEST_IMAGES:
        messages.append(f"{frames} images are few; {FEWEST_IMAGES} or more give ranges that can be trusted.")
    if found.growth_percent > LARGEST_GROWTH_PERCENT:
        messages.append(
            f"The ranges grew by {found.growth_percent:.1f} % over the last quarter of the images; give more `images`."
        )
    if found.dominated:
        messages.append(
            f"One image alone decides the range of {len(found.dominated)} tensors ({', '.join(found.dominated[:3])}); "
            "look for a corrupt or unusual image, or give more."
        )
    return messages


def _growth_percent(amax_by_frame: Mapping[str, Sequence[float]]) -> float:
    """Returns the growth of the ranges over the last quarter of the images, mean over the tensors."""
    growth = []
    for values in amax_by_frame.values():
        running = np.maximum.accumulate(np.asarray(values, dtype=np.float64))
        before = running[max(0, len(running) - len(running) // 4 - 1)]
        if before > 0:
            growth.append(100.0 * float(running[-1] / before - 1.0))
    return round(float(np.mean(growth)), 2) if growth else 0.0
