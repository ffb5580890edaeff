"""Frames as a torch network takes them."""

from __future__ import annotations

import jetseg.models  # isort: skip  # noqa: F401 - says plainly that torch is missing
import torch
from torch import Tensor

from jetseg.advice.workbench import Workbench
from jetseg.data.dataset import match_input
from jetseg.evaluation.accuracy import spread
from jetseg.preprocess import Preprocessor

_BATCH = 8


def batches_of(bench: Workbench, split: str, count: int) -> list[Tensor]:
    """Returns frames of a split, spread evenly, in batches of float32, N x C x H x W."""
    preprocess = Preprocessor(bench.manifest.input)
    frames = match_input(bench.dataset.split(split), bench.manifest.input)
    images = [torch.from_numpy(preprocess(frames[index].image_hwc_u8).copy()) for index in spread(len(frames), count)]
    return list(torch.split(torch.cat(images), _BATCH))
