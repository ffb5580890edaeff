"""Where the reconstruction looks at a frame: at rare classes more often, and no more often than a layer needs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jetseg.onnx.layerwise import Tensor
from jetseg.postprocess import ClassMap

_LEAST_SHARE = 0.002
"""Classes of fewer pixels are not looked at more often still: a few pixels would stand for the whole network."""
_POSITIONS_PER_UNKNOWN = 12
_MOST_POSITIONS = 4096


def rarity(class_maps: Sequence[ClassMap]) -> list[Tensor]:
    """Returns how often to look at each pixel so that rare classes are not lost among common ones.

    Looked at evenly, poles and signs are one position in a hundred, and what a fit loses it loses there. Weights are
    the inverse square root of a class's share of the pixels.

    >>> import numpy as np
    >>> rarity([np.uint8([[0, 0, 0, 1]])])[0].round(2)
    array([[1.15, 1.15, 1.15, 2.  ]], dtype=float32)
    """
    pixels = np.bincount(np.concatenate([found.ravel() for found in class_maps]))
    weights = (np.maximum(pixels / pixels.sum(), _LEAST_SHARE) ** -0.5).astype(np.float32)
    return [weights[found] for found in class_maps]


def positions_per_frame(products: int) -> int:
    """Returns how many output positions each frame gives to a layer that sums so many products.

    Some for each unknown, and beyond 362 products fewer, because the cost of each one grows with the square.
    """
    return int(min(_POSITIONS_PER_UNKNOWN * products, max(512, _MOST_POSITIONS * (256 / products) ** 2)))


class Sampler:
    """Draws positions of frames: for each layer some of those that were drawn once for all.

    Args:
        interest: How often to look at each part of a frame, one array (height x width) per frame.
        seed: Of the choice.
    """

    def __init__(self, interest: Sequence[Tensor], seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._positions = [self._draw(weights) for weights in interest]

    def draw(self, frame: int, count: int) -> Tensor:
        """Returns positions as `LayerMatrix.samples` takes them."""
        first = self._rng.integers(_MOST_POSITIONS)
        return np.take(self._positions[frame], np.arange(first, first + count), axis=0, mode="wrap")

    def _draw(self, weights: Tensor) -> Tensor:
        sums = np.cumsum(weights, dtype=np.float64)
        pixels = np.searchsorted(sums, self._rng.random(_MOST_POSITIONS) * sums[-1], side="right")
        corners = np.stack(np.unravel_index(np.minimum(pixels, len(sums) - 1), weights.shape), axis=1)
        return np.asarray((corners + self._rng.random(corners.shape)) / weights.shape)
