"""What a network says about a frame, and how sure it is."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from jetseg.engine.engine import Engine
from jetseg.postprocess import ClassMap, as_nchw, class_map, class_scores, resize_class_map
from jetseg.preprocess import FrameU8, Preprocessor

FloatMap = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Prediction:
    """What a network says about a frame, at the size of the frame's label.

    Attributes:
        ids_hw_u8: Class map; the number of classes means void.
        confidence_hw: Probability of the class that was chosen; None where the network gives class maps only.
        margin_hw: How far it lies above the next one; likewise.
        scores_chw: Scores before softmax, after the temperature of the manifest, at the network's own size; likewise.
    """

    ids_hw_u8: ClassMap
    confidence_hw: FloatMap | None = None
    margin_hw: FloatMap | None = None
    scores_chw: FloatMap | None = None


class Predictor:
    """Runs an engine and keeps how sure it is.

    Args:
        engine: The open engine; it is not closed.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._preprocess = Preprocessor(engine.manifest.input)

    def __call__(self, frame_hwc_u8: FrameU8, height: int, width: int) -> Prediction:
        """Predicts one frame, at another size than the network's if need be, by nearest neighbor."""
        manifest = self.engine.manifest
        output = np.asarray(self.engine.infer(self._preprocess(frame_hwc_u8)))
        ids = resize_class_map(class_map(output, manifest), height, width)
        if manifest.output.kind == "classmap":
            return Prediction(ids)
        logits = class_scores(as_nchw(output, manifest.output)[0], manifest.output)
        scores = np.array(logits, dtype=np.float32) / np.float32(manifest.temperature)
        confidence, margin = certainty(scores)
        return Prediction(ids, _resized(confidence, height, width), _resized(margin, height, width), scores)


def certainty(scores_chw: FloatMap) -> tuple[FloatMap, FloatMap]:
    """Returns the probability of the likeliest class at each pixel, and how far it lies above the next one.

    >>> confidence, margin = certainty(np.log(np.array([0.7, 0.2, 0.1], np.float32))[:, None, None])
    >>> round(float(confidence[0, 0]), 3), round(float(margin[0, 0]), 3)
    (0.7, 0.5)
    """
    best = scores_chw.max(axis=0)
    weights = np.exp(scores_chw - best)
    confidence = 1 / weights.sum(axis=0)
    if len(weights) == 1:
        return confidence, confidence
    second = np.partition(weights, len(weights) - 2, axis=0)[-2]
    return confidence, confidence * (1 - second)


def _resized(values_hw: FloatMap, height: int, width: int) -> FloatMap:
    if values_hw.shape == (height, width):
        return values_hw
    return np.asarray(cv2.resize(values_hw, (width, height), interpolation=cv2.INTER_NEAREST), dtype=np.float32)
