"""The temperature that makes confidence come true (Guo et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

_LOW, _HIGH = 0.05, 20.0
_STEPS = 32
_GOLDEN = (5**0.5 - 1) / 2


def fit_temperature(scores: Sequence[npt.NDArray[Any]], labels: Sequence[npt.NDArray[np.integer]]) -> float:
    """Finds what scores are best divided by: the true classes become most likely.

    Args:
        scores: Per frame, logits as channels x pixels.
        labels: Per frame, the id of each pixel; those that are no channel are left out.

    Returns:
        Between 0.05 and 20; 1 where no pixel has a label.

    >>> scores = np.array([[4.0, 4.0, 4.0, 4.0], [0.0, 0.0, 0.0, 0.0]])
    >>> round(fit_temperature([scores], [np.array([0, 0, 0, 1])]), 2)  # sure to 98 %, right in 3 of 4
    3.64
    """
    kept = [_labelled(*frame) for frame in zip(scores, labels, strict=True)]
    if not sum(len(ids) for _, ids in kept):
        return 1.0
    logits = np.concatenate([part for part, _ in kept], axis=1)
    ids = np.concatenate([part for _, part in kept])
    low, high = np.log(_LOW), np.log(_HIGH)
    for _ in range(_STEPS):
        first, second = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        if _surprise(logits, ids, np.exp(first)) < _surprise(logits, ids, np.exp(second)):
            high = second
        else:
            low = first
    return float(np.exp((low + high) / 2))


def _labelled(scores: npt.NDArray[Any], ids: npt.NDArray[np.integer]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    known = (ids >= 0) & (ids < len(scores))
    return np.asarray(scores[:, known], dtype=np.float32), ids[known].astype(np.intp)


def _surprise(logits: npt.NDArray[Any], ids: npt.NDArray[Any], temperature: float) -> float:
    scaled = logits / np.float32(temperature)
    scaled -= scaled.max(axis=0)
    true = scaled[ids, np.arange(len(ids))]
    return float((np.log(np.exp(scaled).sum(axis=0)) - true).mean())
