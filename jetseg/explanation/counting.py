"""Counts, frame by frame, what a network gets right: shares whose sums over frames can be compared and resampled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from jetseg.evaluation.confusion import ConfusionMatrix
from jetseg.explanation.prediction import Prediction
from jetseg.explanation.scene import BANDS, COLUMNS, DISTANCES, ROWS, SIZES, Scene

RELIABILITY_BINS = 15
FOUND, SEEN = 0.5, 0.1
"""Shares of an object that must be of its class for it to count as found, and as seen at all."""
_LARGE = SIZES.index("large")


class Key(NamedTuple):
    """Names one share.

    Attributes:
        kind: "class" (IoU), "boundary" (boundary IoU), "band" (pixels right at a distance from boundaries), "size",
            "objects" and "distance" (objects found), "seen" (objects seen at all), "region" and "condition" (pixels
            right in a part of the pictures, and in a kind of frames), "invented" (objects that are there), "pixels"
            (pixels right).
        subject: The class; empty for all of them.
        part: The band, size, region or condition; empty for all of them.
    """

    kind: str
    subject: str = ""
    part: str = ""


Share = tuple[float, float]
"""How many are right, of how many."""
Counted = dict[Key, Share]


def count_frame(scene: Scene, prediction: Prediction, confusion: ConfusionMatrix) -> Counted:
    """Counts what a network gets right in one frame.

    Args:
        scene: The label.
        prediction: What the network said.
        confusion: Of this frame alone; its classes name the classes.
    """
    right = (prediction.ids_hw_u8 == scene.label_hw_u8) & scene.scored_hw
    counted = dict(_iou(confusion))
    counted |= _by_number("band", scene.band_hw, right, scene, [str(number) for number in range(len(BANDS) + 1)])
    counted |= _by_number(
        "region", scene.region_hw, right, scene, [f"{row} {side}" for row in ROWS for side in COLUMNS]
    )
    counted[Key("pixels")] = (float(right.sum()), float(scene.scored_hw.sum()))
    for number, name in enumerate(confusion.classes):
        predicted = (prediction.ids_hw_u8 == number) & scene.scored_hw
        wanted = scene.mask(number)
        if not (predicted.any() or wanted.any()):
            continue
        rims = scene.rim(wanted), scene.rim(predicted)
        counted[Key("boundary", name)] = (float((rims[0] & rims[1]).sum()), float((rims[0] | rims[1]).sum()))
        counted |= _objects(scene, number, name, predicted)
        counted |= _invented(scene, name, predicted, wanted)
    return _with_all_classes(counted)


def reliability(scene: Scene, prediction: Prediction) -> npt.NDArray[np.float64] | None:
    """Sorts the scored pixels by confidence.

    Returns:
        3 x bins: pixels, the sum of their confidence, and how many are right; None without confidence.
    """
    if prediction.confidence_hw is None:
        return None
    confidence = prediction.confidence_hw[scene.scored_hw].astype(np.float64)
    right = (prediction.ids_hw_u8 == scene.label_hw_u8)[scene.scored_hw]
    bins = np.minimum((confidence * RELIABILITY_BINS).astype(np.int64), RELIABILITY_BINS - 1)
    weights = (None, confidence, right.astype(np.float64))
    return np.stack([np.bincount(bins, weight, RELIABILITY_BINS).astype(np.float64) for weight in weights])


def _iou(confusion: ConfusionMatrix) -> Iterator[tuple[Key, Share]]:
    hits = np.diagonal(confusion.counts)
    union = confusion.counts.sum(axis=1) + confusion.counts[:, : len(hits)].sum(axis=0) - hits
    for name, hit, total in zip(confusion.classes, hits, union, strict=True):
        if total:
            yield Key("class", name), (float(hit), float(total))


def _by_number(
    kind: str,
    number_hw: npt.NDArray[np.int64],
    right_hw: npt.NDArray[np.bool_],
    scene: Scene,
    names: Sequence[str],
) -> Counted:
    """Counts the pixels that are right in each part of a picture."""
    totals = np.bincount(number_hw[scene.scored_hw], minlength=len(names))
    hits = np.bincount(number_hw[right_hw], minlength=len(names))
    shares = zip(names, hits, totals, strict=True)
    return {Key(kind, "", name): (float(hit), float(total)) for name, hit, total in shares if total}


def _objects(scene: Scene, number: int, name: str, predicted_hw: npt.NDArray[np.bool_]) -> Counted:
    """Counts the objects of a class that are found, by size, and those below the largest size by distance."""
    objects = scene.objects(number)
    if not len(objects.kept):
        return {}
    covered = objects.covered_by(predicted_hw)
    sizes, distances = scene.size_of(objects), scene.distance_of(objects)
    counted = {}
    for size, title in enumerate(SIZES):
        chosen = covered[sizes == size]
        if len(chosen):
            counted[Key("size", name, title)] = (float((chosen >= FOUND).sum()), float(len(chosen)))
            counted[Key("seen", name, title)] = (float((chosen >= SEEN).sum()), float(len(chosen)))
    for distance, title in enumerate(DISTANCES):
        chosen = covered[(distances == distance) & (sizes < _LARGE)]
        if len(chosen):
            counted[Key("distance", name, title)] = (float((chosen >= FOUND).sum()), float(len(chosen)))
    return counted


def _invented(
    scene: Scene, name: str, predicted_hw: npt.NDArray[np.bool_], wanted_hw: npt.NDArray[np.bool_]
) -> Counted:
    """Counts the predicted objects of a class that are there."""
    patches = scene.patches(predicted_hw)
    if not len(patches.kept):
        return {}
    there = patches.covered_by(wanted_hw) >= SEEN
    return {Key("invented", name): (float(there.sum()), float(len(there)))}


def _with_all_classes(counted: Mapping[Key, Share]) -> Counted:
    """Adds the sums over the classes of what is counted by objects."""
    found = dict(counted)
    for (kind, subject, part), (hits, total) in counted.items():
        if kind not in ("size", "seen", "distance"):
            continue
        sums = [Key(kind, "", part), *([Key("objects", subject), Key("objects")] if kind == "size" else [])]
        for key in sums:
            before = found.get(key, (0.0, 0.0))
            found[key] = (before[0] + hits, before[1] + total)
    # of each class alone, sizes tell enough
    return {key: share for key, share in found.items() if key.kind != "distance" or not key.subject}
