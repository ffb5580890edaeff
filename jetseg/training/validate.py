"""Scores a network during training exactly as `jetseg eval` does."""

from __future__ import annotations

import torch
from torch import nn

from jetseg.errors import DataError
from jetseg.evaluation.confusion import ConfusionMatrix, Score
from jetseg.manifest import Manifest
from jetseg.postprocess import class_map, resize_class_map
from jetseg.preprocess import Preprocessor
from jetseg.training.loaders import LabelledFrames
from jetseg.training.torch_runner import TorchRunner


def validate(
    module: nn.Module, manifest: Manifest, frames: LabelledFrames, device: torch.device | str = "cpu"
) -> Score:
    """Scores a module frame by frame, at the resolution of the labels.

    Args:
        module: The network; it is put in eval mode.
        manifest: Its manifest.
        frames: Labelled frames of the validation split.
        device: Where the module is.
    """
    preprocess = Preprocessor(manifest.input)
    runner = TorchRunner(module, manifest, device)
    confusion = ConfusionMatrix(manifest.classes, manifest.ignore_index)
    for frame, label in frames:
        prediction = class_map(runner.infer(preprocess(frame)), manifest)
        confusion.update(label, resize_class_map(prediction, *label.shape))
    return confusion.score()


def defined_miou(score: Score, frames: LabelledFrames) -> float:
    """Returns the mIoU of a score, percent.

    Raises:
        DataError: No pixel of the frames is labelled.
    """
    if score.miou is None:
        source = frames.source
        raise DataError(
            f"{source.spec} ({source.split}) has no labelled pixel, so there is nothing to score.",
            "Choose another validation split.",
        )
    return score.miou
