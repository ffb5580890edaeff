"""From a network's raw output to a class map."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from jetseg.errors import ArtifactError
from jetseg.manifest import Manifest

ClassMap = npt.NDArray[np.uint8]


def class_map(output: npt.NDArray[Any], manifest: Manifest) -> ClassMap:
    """Turns the raw output of a network into a class map.

    Args:
        output: Logits, 1 x C x H x W with C >= number of classes, or a uint8 class map, 1 x H x W or
            1 x 1 x H x W, as the manifest says.
        manifest: The network's manifest.

    Returns:
        uint8, H x W. Values below `manifest.num_classes` are classes; that value itself means void.

    Raises:
        ArtifactError: The output has another shape than the manifest promises.
    """
    void = manifest.num_classes
    if manifest.output.kind == "classmap":
        ids = output.reshape(output.shape[-2:]).astype(np.uint8, copy=False)
        return np.asarray(np.minimum(ids, np.uint8(void)))
    if output.ndim != 4 or output.shape[0] != 1 or output.shape[1] < void:
        raise ArtifactError(
            f"The network's output has shape {tuple(output.shape)}, but its manifest promises logits of shape "
            f"(1, {void} or more, height, width).",
            "Correct `classes` or `output` in the manifest.",
        )
    if output.shape[1] == 1:
        raise ArtifactError(
            "The network has one channel of scores, in which every pixel is that class.",
            "Name the background as a class of its own, with scores of its own, or give the network a class map.",
        )
    ids = argmax_channels(output[0])
    return np.minimum(ids, np.uint8(void)) if output.shape[1] > void else ids


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
    ids = np.zeros(best.shape, dtype=np.uint8)
    for channel in range(1, scores_chw.shape[0]):
        plane = np.ascontiguousarray(scores_chw[channel])
        wins = cv2.compare(plane, best, cv2.CMP_GT)
        cv2.max(plane, best, dst=best)
        # ids only grow as channels go by, so the maximum keeps the latest winner
        cv2.max(ids, np.bitwise_and(wins, np.uint8(channel)), dst=ids)
    return ids


def resize_class_map(ids_hw_u8: ClassMap, height: int, width: int) -> ClassMap:
    """Resizes a class map to another size by nearest neighbor."""
    if ids_hw_u8.shape == (height, width):
        return ids_hw_u8
    return np.asarray(cv2.resize(ids_hw_u8, (width, height), interpolation=cv2.INTER_NEAREST), dtype=np.uint8)
