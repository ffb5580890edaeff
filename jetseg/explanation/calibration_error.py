"""How far confidence is from the truth, at a temperature, on some pixels of each frame."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from jetseg.explanation.prediction import FloatMap

Scores = npt.NDArray[np.float32]
_GRID_STEPS = 24


def grid_of(
    scores_chw: FloatMap, label_hw_u8: npt.NDArray[np.uint8], scored_hw: npt.NDArray[np.bool_]
) -> tuple[Scores, npt.NDArray[np.uint8]]:
    """Takes scores and labels on a grid of some hundred pixels of a frame.

    Args:
        scores_chw: Scores at the network's size.
        label_hw_u8: The label, of any size.
        scored_hw: Pixels of it that count.

    Returns:
        Scores, pixels x channels, and the class of each.
    """
    height, width = label_hw_u8.shape
    step = max(1, min(height, width) // _GRID_STEPS)
    rows, columns = np.meshgrid(np.arange(step // 2, height, step), np.arange(step // 2, width, step), indexing="ij")
    chosen = scored_hw[rows, columns]
    rows, columns = rows[chosen], columns[chosen]
    at = rows * scores_chw.shape[1] // height, columns * scores_chw.shape[2] // width
    return np.ascontiguousarray(scores_chw[:, at[0], at[1]].T), label_hw_u8[rows, columns]


def calibration_error(scores: Scores, labels: npt.NDArray[np.uint8], temperature: float, bins: int = 15) -> float:
    """Returns the expected calibration error (Naeini et al. 2015) at a temperature, 0..1.

    Args:
        scores: Pixels x channels.
        labels: The class of each pixel.
        temperature: What scores are divided by.
        bins: Equal ranges of confidence.

    >>> calibration_error(np.zeros((4, 2), np.float32), np.array([0, 0, 0, 1], np.uint8), 1.0)
    0.25
    """
    heated = scores.astype(np.float64) / temperature
    heated = np.exp(heated - heated.max(axis=1, keepdims=True))
    confidence = heated.max(axis=1) / heated.sum(axis=1)
    right = scores.argmax(axis=1) == labels
    places = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(places, right - confidence, bins)
    return float(np.abs(gaps).sum() / max(1, len(labels)))
