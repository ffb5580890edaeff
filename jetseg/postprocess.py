"""From a network's raw output to a class map."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from jetseg.errors import ManifestError
from jetseg.manifest import Manifest
from jetseg.output_shape import check_output
from jetseg.output_spec import OutputSpec

ClassMap = npt.NDArray[np.uint8]
DepthMap = npt.NDArray[np.float32]
TaskMap = ClassMap | DepthMap
"""What an output becomes: a class map, or of a depth output the depth of each pixel, in its unit."""
_SAME_DEPTH = np.float32(0.05)
"""Share of the depth by which it may differ and still count as the same."""
_LEAST_PROBABILITY = 1e-6
"""Keeps the logarithm of a probability finite."""


def task_maps(outputs: Sequence[npt.NDArray[Any]], manifest: Manifest) -> dict[str, TaskMap]:
    """Turns the raw outputs of one inference into maps, by the name of the task.

    Args:
        outputs: In the order of `manifest.outputs`.
        manifest: The network's manifest.

    Raises:
        ManifestError: An output is not what the manifest says.
    """
    return {task.output.label: task_map(output, task) for output, task in zip(outputs, manifest.tasks, strict=True)}


def task_map(output: npt.NDArray[Any], manifest: Manifest) -> TaskMap:
    """Turns the raw output of one task into its map; the manifest has this output only."""
    return depth_map(output, manifest) if manifest.output.task == "depth" else class_map(output, manifest)


def same_share(found: Sequence[TaskMap], wanted: Sequence[TaskMap]) -> float:
    """Returns the share of pixels that two networks agree on, 0 to 1, in the task in which they agree least.

    Pixels of class maps agree that are equal, and depth that differs by less than 5 %.

    >>> ids, depth = np.array([[0, 1]], np.uint8), np.array([[10.0, 20.0]], np.float32)
    >>> same_share([ids, depth], [ids, depth * np.float32([1.04, 1.06])])
    0.5
    """
    return min(float(np.mean(same_pixels(mine, theirs))) for mine, theirs in zip(found, wanted, strict=True))


def same_pixels(found: TaskMap, wanted: TaskMap) -> npt.NDArray[np.bool_]:
    """Returns at which pixels two maps of one task agree; see `same_share`."""
    if found.dtype == np.uint8:
        return np.asarray(found == wanted)
    return np.asarray(np.abs(found - wanted) < _SAME_DEPTH * wanted)


def depth_map(output: npt.NDArray[Any], manifest: Manifest) -> DepthMap:
    """Turns the raw output of a depth task into depth.

    Args:
        output: 1 x 1 x H x W or 1 x H x W, with the channels last where the manifest says so.
        manifest: A manifest with this output only.

    Returns:
        float32, H x W, from `low` to `high`; what is not a number stays so.

    >>> depth = {"name": "depth", "task": "depth", "depth": {"low": 1, "high": 100}}
    >>> manifest = Manifest.model_validate({"input": {"height": 1, "width": 2}, "outputs": [depth]})
    >>> depth_map(np.array([[[[0.0, 50.0]]]], np.float32), manifest).tolist()
    [[10.0, 100.0]]
    """
    check_output("The network's output", output.shape, output.dtype, manifest)
    spec = manifest.output
    if spec.depth is None:
        raise TypeError("only a depth output becomes a depth map")
    low, high = spec.depth.low, spec.depth.high
    values = np.asarray(output, np.float32).reshape(output.shape[1:3] if spec.layout == "nhwc" else output.shape[-2:])
    if spec.activation == "sigmoid":
        with np.errstate(over="ignore"):  # exp of a large number is infinite, and its share then 0, as it should be
            values = np.float32(low) * np.float32(high / low) ** (1 / (1 + np.exp(-values)))
    return np.asarray(np.clip(values, np.float32(low), np.float32(high)), dtype=np.float32)


def class_map(output: npt.NDArray[Any], manifest: Manifest) -> ClassMap:
    """Turns the raw output of a network into a class map.

    Args:
        output: Logits, 1 x C x H x W with C >= number of classes, or with one channel for two classes; or a class map
            of integers, 1 x H x W or 1 x 1 x H x W, or 1 x 2 x H x W with its confidence; with the channels last where
            the manifest says so.
        manifest: The network's manifest.

    Returns:
        uint8, H x W. Values below `manifest.num_classes` are classes; that value itself means void.

    Raises:
        ManifestError: The output is not what the manifest says.
    """
    void, spec = manifest.num_classes, manifest.output
    if spec.task == "depth":
        raise ManifestError(
            f"The main output, {spec.label}, is depth, and has no classes.",
            "List an output with classes first in the manifest, or look at all outputs.",
        )
    check_output("The network's output", output.shape, output.dtype, manifest)
    if spec.kind == "classmap":
        pixels = output.shape[1:3] if output.ndim == 4 and spec.layout == "nhwc" else output.shape[-2:]
        ids = output[0, 0] if spec.confidence else output.reshape(pixels)
        if ids.dtype != np.uint8:
            ids = np.where((ids < 0) | (ids > void), void, ids).astype(np.uint8)
        return np.asarray(np.minimum(ids, np.uint8(void)))
    logits = as_nchw(output, spec)
    threshold = score_threshold(spec)
    if threshold is not None:
        return np.asarray(logits[0, 0] > np.float32(threshold)).view(np.uint8)
    ids = argmax_channels(logits[0])
    return np.minimum(ids, np.uint8(void)) if logits.shape[1] > void else ids


def as_nchw(logits: npt.NDArray[Any], spec: OutputSpec) -> npt.NDArray[Any]:
    """Returns logits with the channels second, as a view."""
    return np.moveaxis(logits, 3, 1) if spec.layout == "nhwc" else logits


def score_threshold(spec: OutputSpec) -> float | None:
    """Returns what the score of the one channel must exceed for the second class; None with a channel per class.

    >>> score_threshold(OutputSpec(classes=("tissue", "membrane"), activation="sigmoid"))
    0.0
    """
    if spec.activation == "softmax":
        return None
    return spec.threshold if spec.activation == "none" else math.log(spec.threshold / (1 - spec.threshold))


def class_scores(logits: npt.NDArray[Any], spec: OutputSpec) -> npt.NDArray[Any]:
    """Returns scores with a channel per class, whose softmax are the probabilities.

    One channel of scores becomes two: sigmoid(score) = softmax((0, score)).

    Args:
        logits: Channels first.
        spec: What the manifest says about them.
    """
    if spec.activation == "softmax":
        return logits
    if spec.activation == "none":
        inside = np.clip(logits, _LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)
        logits = np.log(inside / (1 - inside))
    return np.concatenate([np.zeros_like(logits), logits])


def confident_scores(planes: npt.NDArray[Any], classes: int) -> npt.NDArray[np.float32]:
    """Returns scores whose softmax is what a class map with confidence tells of the probabilities.

    What the class of a pixel lacks to 1 is spread over as many channels of void, since it is not known whose it was.

    Args:
        planes: Class ids and 255 times their probabilities, 2 x pixels.
        classes: Number of classes.

    Returns:
        float32, 2 classes x pixels: logarithms of probabilities.

    >>> shares = np.exp(confident_scores(np.array([[1], [153]], np.uint8), 2))
    >>> [round(float(share), 3) for share in shares.ravel()]
    [0.0, 0.6, 0.2, 0.2]
    """
    ids, sure = planes[0].astype(np.intp), np.clip(planes[1] / np.float32(255), 1 / 255, 254 / 255)
    scores = np.full((2 * classes, len(ids)), np.log(_LEAST_PROBABILITY), dtype=np.float32)
    scores[classes:] = np.log((1 - sure) / classes)
    known = ids < classes
    scores[ids[known], np.flatnonzero(known)] = np.log(sure[known])
    return scores


def argmax_channels(scores_chw: npt.NDArray[np.float32]) -> ClassMap:
    """Returns the index of the largest channel at each pixel; the first one on a tie, as numpy does.

    A running maximum over channel planes, several times faster than `numpy.argmax` over the first axis.

    Args:
        scores_chw: float32, C x H x W with C <= 255.

    Returns:
        uint8, H x W.

    >>> import numpy as np
    >>> argmax_channels(np.array([[[1.0, 5.0]], [[2.0, 0.0]]], dtype=np.float32)).tolist()
    [[1, 0]]
    """
    scores_chw = np.asarray(scores_chw, dtype=np.float32)
    best = np.array(scores_chw[0], copy=True, order="C")
    ids, wins = np.zeros(best.shape, dtype=np.uint8), np.empty(best.shape, dtype=np.uint8)
    for channel in range(1, scores_chw.shape[0]):
        plane = np.ascontiguousarray(scores_chw[channel])
        cv2.compare(plane, best, cv2.CMP_GT, dst=wins)
        cv2.max(plane, best, dst=best)
        # ids only grow as channels go by, so the maximum keeps the latest winner
        cv2.max(ids, np.bitwise_and(wins, np.uint8(channel), out=wins), dst=ids)
    return ids


def resize_task_map(values_hw: TaskMap, height: int, width: int) -> TaskMap:
    """Resizes a class map by nearest neighbor, and a depth map likewise: a mean of near and far is neither."""
    if values_hw.shape == (height, width):
        return values_hw
    resized: Any = cv2.resize(values_hw, (width, height), interpolation=cv2.INTER_NEAREST)
    return resized  # type: ignore[no-any-return]


def resize_class_map(ids_hw_u8: ClassMap, height: int, width: int) -> ClassMap:
    """Resizes a class map to another size by nearest neighbor."""
    if ids_hw_u8.shape == (height, width):
        return ids_hw_u8
    return np.asarray(cv2.resize(ids_hw_u8, (width, height), interpolation=cv2.INTER_NEAREST), dtype=np.uint8)
