"""Weights of rare and frequent classes, counted from labels."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from jetseg.evaluation.accuracy import spread
from jetseg.storage import write_json
from jetseg.training.loaders import LabelledFrames

_COUNTED_FRAMES = 200
COUNTS_NAME = "class_pixels.json"


def class_weights(method: str, frames: LabelledFrames, folder: Path | None) -> list[float] | None:
    """Returns one weight per class; None for method "none".

    Args:
        method: "none", "enet" or "median".
        frames: Labels to count; at most 200 of them, spread evenly.
        folder: Where the counts are kept for the next start of the same run; None keeps nothing.
    """
    if method == "none":
        return None
    pixels = _counts(frames, folder)
    return enet_weights(pixels) if method == "enet" else median_weights(pixels)


def enet_weights(pixels: npt.NDArray[np.int64]) -> list[float]:
    """Returns 1 / ln(1.02 + p) per class, p being its share of all labelled pixels (arXiv:1606.02147).

    Args:
        pixels: Number of pixels per frame and class, frames x C.

    >>> [round(weight, 2) for weight in enet_weights(np.array([[98, 0]]))]
    [1.42, 50.5]
    """
    share = pixels.sum(0) / max(int(pixels.sum()), 1)
    return [float(weight) for weight in 1.0 / np.log(1.02 + share)]


def median_weights(pixels: npt.NDArray[np.int64]) -> list[float]:
    """Returns median frequency balancing weights (arXiv:1411.4734): median(f) / f per class.

    f is a class's share of the labelled pixels of those frames in which it occurs. A class that occurs
    nowhere gets 1: no pixel will use it.

    Args:
        pixels: Number of pixels per frame and class, frames x C.

    >>> [round(weight, 3) for weight in median_weights(np.array([[90, 10], [50, 0]]))]
    [0.554, 5.167]
    """
    present_in = (pixels.sum(1, keepdims=True) * (pixels > 0)).sum(0)
    seen = present_in > 0
    frequency = np.divide(pixels.sum(0), present_in, out=np.ones(len(seen)), where=seen)
    median = float(np.median(frequency[seen])) if seen.any() else 1.0
    return [median / float(value) if there else 1.0 for value, there in zip(frequency, seen, strict=True)]


def _counts(frames: LabelledFrames, folder: Path | None) -> npt.NDArray[np.int64]:
    """Counts pixels per frame and class, or reads what an earlier start of this run counted."""
    source = frames.source
    subject = {"data": source.spec, "split": source.split, "frames": len(frames), "classes": source.classes}
    path = None if folder is None else folder / COUNTS_NAME
    if path is not None and path.is_file():
        # a file that is damaged or counts something else is counted anew
        with suppress(ValueError, KeyError, TypeError):
            kept = json.loads(path.read_text(encoding="utf-8"))
            if kept["subject"] == json.loads(json.dumps(subject)):
                return np.array(kept["pixels"], dtype=np.int64)
    pixels = np.array([np.bincount(frames[i][1].ravel(), minlength=256) for i in spread(len(frames), _COUNTED_FRAMES)])
    if source.ignore_index is not None:
        pixels[:, source.ignore_index] = 0
    pixels = pixels[:, : len(source.classes)]
    if path is not None:
        write_json(path, {"subject": subject, "pixels": pixels.tolist()})
    return pixels
