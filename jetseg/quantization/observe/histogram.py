"""Streaming histograms: one pass, memory flat in the number of images."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from jetseg.errors import CalibrationError

BINS = 2048
"""Bins on each side of zero."""
MOST_VALUES = 1 << 18
"""Values of one tensor and frame that are counted; of larger tensors a sample, though smallest and largest of all."""

_LARGEST_GAIN = 1e38
"""Keeps what values are multiplied with within float32, for tensors of next to nothing."""


class StreamingHistogram:
    """Counts the values of one tensor over any number of images, of large tensors a sample.

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
        self._updates = 0
        self.counts: npt.NDArray[np.float64] = np.zeros(2 * BINS)

    def update(
        self, values: npt.NDArray[np.float32], extremes: tuple[float, float] | None = None
    ) -> tuple[float, float]:
        """Adds the values of a tensor; returns the smallest and the largest of them.

        Args:
            values: The tensor.
            extremes: Its smallest and largest value, where they are known; not a number, if one value is not.

        Raises:
            CalibrationError: A value is not finite.
        """
        if values.size == 0:
            return 0.0, 0.0
        low, high = extremes or (float(values.min()), float(values.max()))
        if not np.isfinite(low) or not np.isfinite(high):
            raise CalibrationError(
                f"Tensor {self.name} holds values that are not finite.",
                "Check the network and its preprocessing in float first, with `jetseg eval`.",
            )
        self.low, self.high = min(self.low, low), max(self.high, high)
        self._reach_for(max(-low, high))
        flat = self._sample(values)
        if self.reach == 0.0:  # only zeros so far
            self.counts[BINS] += flat.size
            return low, high
        # integers are counted in a third of the time; the reach itself makes one bin more, and belongs to the last
        bins = (flat * np.float32(min(BINS / self.reach, _LARGEST_GAIN)) + np.float32(BINS)).astype(np.uint16)
        counts = cv2.calcHist([bins[None]], [0], None, [2 * BINS + 1], [0, 2 * BINS + 1]).ravel()
        self.counts += counts[:-1]
        self.counts[-1] += counts[-1]
        return low, high

    def _sample(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Returns at most about `MOST_VALUES` of a tensor's values, others each time."""
        stride = values.size // MOST_VALUES | 1  # odd, since widths are even
        flat = np.asarray(values, dtype=np.float32).reshape(-1)[self._updates % stride :: stride]
        self._updates += 1
        return flat

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
