"""A short training after layers were changed: how much of a loss comes back, and what an epoch costs."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import jetseg.models  # isort: skip  # noqa: F401 - says plainly that torch is missing
import torch
from torch import nn

from jetseg.advice.workbench import Workbench, defined
from jetseg.config import validate_config
from jetseg.engine.engine import Engine
from jetseg.evaluation.accuracy import measure_accuracy
from jetseg.models.copying import copied
from jetseg.training.config import TrainConfig
from jetseg.training.loop import train
from jetseg.training.losses import SegmentationLoss
from jetseg.training.torch_runner import TorchRunner

_LIKE_BEFORE = (
    "class_weights",
    "ohem_fraction",
    "dice_weight",
    "lovasz_weight",
    "optimizer",
    "weight_decay",
    "augment",
)
"""Settings of the network's own training that a repair takes over."""
_BATCH = 8
_WITH_TEACHER = 1.4
"""How much longer a step takes with a teacher of the network's own size: one more forward of the four passes."""


def repair(bench: Workbench, checkpoint: Path, seconds: float) -> tuple[float, int]:
    """Trains a changed network for about so long, with the network as it was as its teacher.

    Returns:
        mIoU afterwards in percent, and how many frames it learned from.
    """
    frames = max(_BATCH, int(seconds / (_WITH_TEACHER * seconds_per_frame(bench, bench.module))))
    available = len(bench.dataset.split(bench.config.split))
    epochs = max(1, frames // available)
    own = {
        "data": bench.dataset.spec,
        "init": checkpoint,
        "teacher": bench.network.path,
        "out": bench.folder / f"repair-{checkpoint.stem}",
        "frames": min(frames, available),
        "epochs": epochs,
        "validate_every": epochs,
        "ema_decay": 0.0,
        "probe": False,
    }
    result = train(validate_config(TrainConfig, {**training_settings(bench), **own}))
    engine = Engine(TorchRunner(result.last))
    split = bench.dataset.split(bench.config.eval_split)
    score = measure_accuracy(engine.segment, engine.manifest, split, frames=bench.config.frames)
    return defined(score), epochs * min(frames, available)


def training_settings(bench: Workbench) -> dict[str, Any]:
    """Returns how a network of this kind is trained on, for the recipe as well: as it was before, at a lower rate."""
    before: dict[str, Any] = {}
    for stage in bench.manifest.stages:
        if stage.name in ("train", "distill"):
            before = {name: stage.settings[name] for name in _LIKE_BEFORE if stage.settings.get(name) is not None}
    return {
        **before,
        "split": bench.config.split,
        "eval_split": bench.config.eval_split,
        "batch_size": _BATCH,
        "lr": 1e-3,
        "seed": bench.config.seed,
    }


def seconds_per_frame(bench: Workbench, module: nn.Module) -> float:
    """Returns what one frame costs in training at the network's own size, measured on two frames."""
    own, spec = copied(module).train().requires_grad_(True), bench.manifest.input
    images = torch.zeros(2, spec.channels, spec.height, spec.width)
    labels = torch.zeros(2, spec.height, spec.width, dtype=torch.int64)
    loss = SegmentationLoss(bench.manifest.ignore_index)
    fastest = math.inf
    with torch.enable_grad():
        for _ in range(2):
            start = time.perf_counter()
            loss(own(images), labels).backward()
            fastest = min(fastest, time.perf_counter() - start)
    return fastest / len(images)


def hours_of_training(bench: Workbench, module: nn.Module) -> float:
    """Returns what the recipe's repair takes on this machine, in hours."""
    frames = len(bench.dataset.split(bench.config.split)) * bench.config.epochs
    return frames * _WITH_TEACHER * seconds_per_frame(bench, module) / 3600
