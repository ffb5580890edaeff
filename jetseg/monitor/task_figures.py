"""Live figures of a network's further tasks: how much of the picture a mask covers, how far away things are."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from jetseg.postprocess import TaskMap

_STRIDE = 4
"""Of the pixels that are looked at, in both directions."""


def task_figures(maps: Mapping[str, TaskMap]) -> dict[str, dict[str, float]]:
    """Returns, by task, the percent of the picture that is not of the first class, or quantiles of depth.

    >>> lane = np.tile(np.uint8([0, 1]).repeat(8), (16, 1))  # the right half
    >>> task_figures({"lane": lane, "depth": np.full((16, 16), 7.0, np.float32)})
    {'lane': {'percent': 50.0}, 'depth': {'p5': 7.0, 'p50': 7.0, 'p95': 7.0}}
    """
    return {name: _figures(values[::_STRIDE, ::_STRIDE]) for name, values in maps.items()}


def _figures(values: TaskMap) -> dict[str, float]:
    if values.dtype == np.uint8:
        return {"percent": round(100.0 * int(np.count_nonzero(values)) / values.size, 2)}
    known = values[np.isfinite(values)]
    if not known.size:
        return {}
    return {f"p{share}": round(float(np.percentile(known, share)), 3) for share in (5, 50, 95)}
