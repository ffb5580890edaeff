"""Methods that choose a range from a histogram: entropy, percentile, mean squared error, minimum and maximum."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt

from jetseg.quantization.config import Method
from jetseg.quantization.observe.histogram import BINS, StreamingHistogram
from jetseg.quantization.ranges import TensorRange

PERCENTILE = 99.99
LEVELS = 128
"""Levels of a symmetric 8-bit quantizer on one side of zero."""
_MSE_CANDIDATES = 96
_COARSE = 4
_SMALLEST_FRACTION = 1 / 64
"""The narrowest range that the mean squared error search tries, as a fraction of the widest."""

Floats = npt.NDArray[np.float64]


Bounds = tuple[float, float, float]
"""Lower and upper bound for asymmetric quantizers, and the bound on magnitudes for symmetric ones."""


def choose_range(histogram: StreamingHistogram, method: Method) -> TensorRange:
    """Chooses the range of one tensor.

    Args:
        histogram: Everything that was seen of the tensor.
        method: "entropy", "percentile", "minmax" or "mse".

    Returns:
        Bounds that contain zero. All are 0 for a tensor that was always zero.
    """
    low, high, amax = _METHODS[method](histogram) if histogram.reach else (0.0, 0.0, 0.0)
    return TensorRange(low=low, high=high, amax=amax, seen_low=histogram.low, seen_high=histogram.high)


def _minmax(histogram: StreamingHistogram) -> Bounds:
    low, high = min(histogram.low, 0.0), max(histogram.high, 0.0)
    return low, high, max(-low, high)


def _entropy(histogram: StreamingHistogram) -> Bounds:
    amax = entropy_threshold(histogram.magnitudes()) * histogram.reach
    lowest, highest, widest = _minmax(histogram)
    return max(lowest, -amax), min(highest, amax), min(amax, widest)


def _percentile(histogram: StreamingHistogram) -> Bounds:
    lowest, highest, widest = _minmax(histogram)
    tail = (100.0 - PERCENTILE) / 100.0
    edges = np.linspace(-histogram.reach, histogram.reach, 2 * BINS + 1)
    share = np.concatenate([[0.0], np.cumsum(histogram.counts)]) / histogram.counts.sum()
    low = max(lowest, min(0.0, float(np.interp(tail, share, edges))))
    high = min(highest, max(0.0, float(np.interp(1.0 - tail, share, edges))))
    magnitude = np.concatenate([[0.0], np.cumsum(histogram.magnitudes())]) / histogram.counts.sum()
    amax = float(np.interp(1.0 - tail, magnitude, np.linspace(0.0, histogram.reach, BINS + 1)))
    return low, high, min(amax, widest)


def _mse(histogram: StreamingHistogram) -> Bounds:
    lowest, highest, widest = _minmax(histogram)
    centers = (np.arange(2 * BINS) - BINS + 0.5) * (histogram.reach / BINS)
    used = np.flatnonzero(histogram.counts)
    values, counts = centers[used].astype(np.float64), histogram.counts[used]
    amax = _best(widest, lambda bound: _error(values, counts, -bound, bound, 2 * LEVELS - 2))
    low, high = lowest, highest
    for _ in range(2):  # one bound at a time, twice
        high = _best(highest, partial(_error, values, counts, low, steps=2 * LEVELS - 1))
        low = _best(lowest, partial(_error, values, counts, high=high, steps=2 * LEVELS - 1))
    return low, high, amax


def _best(widest: float, error: Callable[[float], float]) -> float:
    """Returns the bound with the least error: of a few up to the widest, then of those around the best of them."""
    if widest == 0.0:
        return 0.0
    bounds = [float(fraction) * widest for fraction in np.geomspace(_SMALLEST_FRACTION, 1.0, _MSE_CANDIDATES)]
    coarse = range(_COARSE - 1, _MSE_CANDIDATES, _COARSE)  # the widest is among them
    place = min(coarse, key=lambda candidate: error(bounds[candidate]))
    return min(bounds[max(0, place - _COARSE + 1) : place + _COARSE], key=error)


def _error(values: Floats, counts: Floats, low: float, high: float, steps: int) -> float:
    """Returns the summed squared error of quantizing `values` to `steps` equal steps over [low, high]."""
    step = (high - low) / steps
    if step <= 0:
        return float(np.inf)
    error = np.minimum(np.maximum(values, low), high)  # in place from here: it is computed a hundred times per tensor
    error /= step
    np.rint(error, out=error)
    error *= step
    error -= values
    # values lie anywhere in their bin, so rounding cannot be better than the bin is wide
    error *= error
    return float(np.dot(counts, error))


def entropy_threshold(magnitudes: Floats) -> float:
    """Finds the clipping threshold whose 128-level quantization loses least information.

    The method that NVIDIA published for TensorRT (S. Migacz, "8-bit Inference with TensorRT", GTC 2017): for
    each number of leading bins, what lies beyond goes into the last bin (distribution P); the bins are merged
    into 128 levels and spread again over those that were not empty (distribution Q); the threshold with the
    smallest Kullback-Leibler divergence of Q from P wins. With running sums a level costs one subtraction, so
    all thresholds are compared at once.

    Args:
        magnitudes: Counts over equal bins of absolute values from 0.

    Returns:
        The threshold as a fraction of the histogram's reach, in (0, 1].

    >>> import numpy as np
    >>> falling = np.floor(1e6 * np.exp(-np.arange(2048) / 40.0))
    >>> falling[-1] = 1.0  # a lone outlier
    >>> 0.15 < entropy_threshold(falling) < 0.25
    True
    """
    bins = len(magnitudes)
    candidates = np.arange(LEVELS, bins + 1)
    counts = np.concatenate([[0.0], np.cumsum(magnitudes)])
    filled = np.concatenate([[0], np.cumsum(magnitudes > 0)])
    total = counts[-1]
    if total <= 0:
        return 1.0
    edges = np.arange(LEVELS + 1)[None, :] * candidates[:, None] // LEVELS
    level_counts = np.diff(counts[edges], axis=1)
    level_filled = np.diff(filled[edges], axis=1).astype(np.float64)
    outliers = total - counts[candidates]
    last = magnitudes[candidates - 1]
    level_filled[:, -1] += (last == 0) & (outliers > 0)
    reference = level_counts.copy()
    reference[:, -1] += outliers
    kept = counts[candidates]
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = np.concatenate([[0.0], np.cumsum(_x_log_x(magnitudes))])
        own = entropy[candidates - 1] + _x_log_x(last + outliers)
        spread = np.where(level_filled > 0, level_counts / level_filled, 0.0)
        cross = np.where(reference > 0, reference * np.log(spread), 0.0).sum(axis=1)
        divergence = (own - cross) / total - np.log(total) + np.log(kept)
    divergence[~np.isfinite(divergence)] = np.inf
    return float(candidates[int(np.argmin(divergence))] / bins)


def _x_log_x(values: Floats) -> Floats:
    return np.where(values > 0, values * np.log(np.where(values > 0, values, 1.0)), 0.0)


_METHODS: dict[Method, Callable[[StreamingHistogram], Bounds]] = {
    "minmax": _minmax,
    "entropy": _entropy,
    "percentile": _percentile,
    "mse": _mse,
}
