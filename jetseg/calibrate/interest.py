"""Where a fit looks: at rare classes, and at pixels that are hard to decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from jetseg.calibrate.stepping import Tensor
from jetseg.manifest import Manifest
from jetseg.ort import make_session, run_session
from jetseg.postprocess import ClassMap, class_map

_LEAST_SHARE = 0.002
"""Classes of fewer pixels are not looked at more often still: a few pixels would stand for the whole network."""
_LEAST_DISTANCE = 0.1
"""Of the two best scores, as a share of the mean. Nearer to a tie, a pixel is not looked at more often still."""
_TINY = 1e-30


def interest(
    model: bytes, feeds: Sequence[Mapping[str, Tensor]], manifest: Manifest, threads: int | None = None
) -> list[Tensor]:
    """Returns how often to look at each pixel of some frames: `rarity` times `doubt`, where there are scores.

    Args:
        model: The float network.
        feeds: Graph inputs, one mapping per frame.
        manifest: Its manifest.
        threads: Threads of ONNX Runtime.
    """
    session = make_session(model, threads=threads)
    name = manifest.output.name or session.get_outputs()[0].name
    class_maps: list[ClassMap] = []
    doubts: list[Tensor] = []
    for feed in feeds:
        (output,) = run_session(session, [name], dict(feed))
        class_maps.append(class_map(output, manifest))
        doubts.append(doubt(output) if manifest.output.kind == "logits" else np.ones(1))
    return [rare * unsure for rare, unsure in zip(rarity(class_maps), doubts, strict=True)]


def rarity(class_maps: Sequence[ClassMap]) -> list[Tensor]:
    """Returns how often to look at each pixel so that rare classes are not lost among common ones.

    Looked at evenly, poles and signs are one position in a hundred, and what a fit loses it loses there. Weights are
    the inverse square root of a class's share of the pixels.

    >>> import numpy as np
    >>> rarity([np.uint8([[0, 0, 0, 1]])])[0].round(2)
    array([[1.15, 1.15, 1.15, 2.  ]])
    """
    pixels = np.bincount(np.concatenate([found.ravel() for found in class_maps]))
    weights = np.maximum(pixels / pixels.sum(), _LEAST_SHARE) ** -0.5
    return [weights[found] for found in class_maps]


def doubt(scores_nchw: Tensor) -> Tensor:
    """Returns how often to look at each pixel so that fits are best where the two best classes nearly tie.

    There an error of the scores changes the class. Weights fall with the distance of the two, relative to its mean.

    >>> import numpy as np
    >>> doubt(np.float32([[[[0.0, 4.0]], [[0.0, 0.0]], [[-9.0, -9.0]]]])).round(2)
    array([[10.  ,  0.48]], dtype=float32)
    """
    second, best = np.partition(scores_nchw[0], -2, axis=0)[-2:]
    distance = best - second
    return np.asarray(1.0 / (distance / max(float(distance.mean()), _TINY) + _LEAST_DISTANCE))
