"""Streaming histograms: one pass, memory flat in the number of images."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from jetseg.errors import CalibrationError

BINS = 2048
"""Bins on each side of zero."""


class StreamingHistogram:
    """Counts the values of one tensor over any number of images.

    Bins of equal width cover [-reach, reach], `BINS` on each side of zero. When a value lies beyond, the reach
    doubles as often as needed and neighboring bins merge pairwise, which loses no count.

    Args:
        name: The tensor, for messages.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.reach = 0.0
        self.low = np.inf
        self.high = -np.inf
        self.counts: npt.NDArray[np.float64] = np.zeros(2 * BINS)

    def update(self, values: npt.NDArray[np.float32]) -> tuple[float, float]:
        """Adds all values of a tensor; returns the smallest and the largest of them.

        Raises:
            CalibrationError: A value is not finite.
        """
        flat = np.ascontiguousarray(values, dtype=np.float32).reshape(1, -1)
        if flat.size == 0:
            return 0.0, 0.0
        low, high, _, _ = cv2.minMaxLoc(flat)
        if not np.isfinite(low) or not np.isfinite(high) or not np.isfinite(flat.sum(dtype=np.float64)):
            raise CalibrationError(
                f"Tensor {self.name} holds values that are not finite.",
                "Check the network and its preprocessing in float first, with `jetseg eval`.",
            )
        self.low, self.high = min(self.low, low), max(self.high, high)
        self._reach_for(max(-low, high))
        if self.reach == 0.0:  # only zeros so far
            self.counts[BINS] += flat.size
            return low, high
        # calcHist leaves out its upper bound; the reach itself still belongs to the last bin
        upper = float(np.nextafter(np.float32(self.reach), np.float32(np.inf)))
        counts = cv2.calcHist([flat], [0], None, [2 * BINS], [-self.reach, upper])
        self.counts += counts.ravel()  # a column in OpenCV 4, a row in OpenCV 5
        return low, high

    def magnitudes(self) -> npt.NDArray[np.float64]:
        """Returns the histogram of absolute values: `BINS` counts over [0, reach]."""
        return np.asarray(self.counts[BINS:] + self.counts[BINS - 1 :: -1])

    def _reach_for(self, magnitude: float) -> None:
        if magnitude <= self.reach:
            return
        if self.reach == 0.0:
            zeros = self.counts[BINS]
            self.counts[:] = 0.0
            self.counts[BINS] = zeros
            self.reach = magnitude
            return
        while self.reach < magnitude:
            pairs = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts[:] = 0.0
            self.counts[BINS // 2 : BINS // 2 + BINS] = pairs
            self.reach *= 2.0
