"""The pruning stage: checkpoint in, pruned checkpoint out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import nn

from jetseg.compress.change import LayerChange
from jetseg.compress.importance import (
    ActivationImportance,
    Batch,
    Importance,
    RandomImportance,
    TaylorImportance,
    magnitude,
)
from jetseg.compress.structured import PruneSettings, prune_structured
from jetseg.compress.unstructured import prune_unstructured
from jetseg.data.contract import SegmentationDataset
from jetseg.data.specs import open_dataset
from jetseg.errors import ArtifactError, DataError
from jetseg.evaluate.accuracy import check_classes, spread
from jetseg.evaluate.macs import Cost
from jetseg.manifest import Manifest, Stage
from jetseg.models.cost import module_cost
from jetseg.postprocess import resize_class_map
from jetseg.preprocess import Preprocessor
from jetseg.progress import track
from jetseg.train.checkpoint import load_checkpoint, save_checkpoint

BATCH_SIZE = 4


class PruneConfig(BaseModel):
    """Settings of the pruning stage.

    Attributes:
        checkpoint: Network to prune.
        out: Checkpoint to write; ends in `.safetensors`.
        method: "structured" removes channels; "unstructured" sets single weights to zero.
        criterion: What makes a channel or weight unimportant.
        ratio: Fraction of channels (structured) or weights (unstructured) to remove.
        scope: "layer" removes that fraction of every layer; "global" ranks all layers together.
        round_to: Structured: pruned layers keep a multiple of this many channels.
        max_ratio: Structured: no layer loses more than this fraction.
        norm: Structured magnitude: 1 for the L1 norm, 2 for the squared L2 norm.
        data: Dataset spec, for the criteria that look at frames.
        split: Split of it.
        batches: Batches of 4 frames to look at, spread evenly over the split.
        seed: Fixes the random criterion.
        keep: Names of layers to leave alone; `*` and `?` match parts of a name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    checkpoint: Path
    out: Path
    method: Literal["structured", "unstructured"] = "structured"
    criterion: Literal["magnitude", "activation", "taylor", "random"] = "magnitude"
    ratio: float = Field(0.5, gt=0, lt=1)
    scope: Literal["global", "layer"] = "layer"
    round_to: int = Field(8, ge=1)
    max_ratio: float = Field(0.9, gt=0, lt=1)
    norm: Literal[1, 2] = 2
    data: str | None = None
    split: str = "train"
    batches: int = Field(16, ge=1)
    seed: int = 0
    keep: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> PruneConfig:
        looks_at_frames = self.criterion in ("activation", "taylor")
        if looks_at_frames and self.method == "unstructured":
            raise ValueError(
                f"criterion {self.criterion} needs method structured; unstructured takes magnitude or random"
            )
        if looks_at_frames and self.data is None:
            raise ValueError(f"criterion {self.criterion} looks at frames: give data")
        if self.out.suffix != ".safetensors":
            raise ValueError("out must end in .safetensors")
        if self.out == self.checkpoint:
            raise ValueError("out must be another file than checkpoint")
        return self


@dataclass(frozen=True)
class PruneResult:
    """What pruning made.

    Attributes:
        checkpoint: The pruned checkpoint.
        before: Parameters and multiply-accumulates of one inference before.
        after: The same after; zeros count as weights.
        layers: What happened to each layer.
    """

    checkpoint: Path
    before: Cost
    after: Cost
    layers: tuple[LayerChange, ...]


def run(config: PruneConfig) -> PruneResult:
    """Prunes a checkpoint without fine-tuning it.

    Raises:
        ArtifactError: The checkpoint is broken, or its network cannot be pruned.
        ConfigError: A pattern in `keep` matches nothing, or nothing is left to prune.
        DataError: The dataset is broken, or its classes are not the network's.
    """
    module, manifest = load_checkpoint(config.checkpoint)
    spec = manifest.input
    shape = (1, spec.channels, spec.height, spec.width)
    settings = PruneSettings(
        ratio=config.ratio,
        scope=config.scope,
        round_to=config.round_to,
        keep=config.keep,
        max_ratio=max(config.max_ratio, config.ratio),
    )
    before = module_cost(module, shape)
    if config.method == "unstructured":
        criterion: Literal["magnitude", "random"] = "random" if config.criterion == "random" else "magnitude"
        pruned, layers = prune_unstructured(module, settings, criterion, config.seed)
    else:
        pruned, layers = prune_structured(
            module, settings, torch.zeros(shape), lambda copy: _importance(copy, config, manifest)
        )
    save_checkpoint(config.out, pruned, _pruned_manifest(manifest, config))
    return PruneResult(config.out, before, module_cost(pruned, shape), layers)


def _importance(module: nn.Module, config: PruneConfig, manifest: Manifest) -> Importance:
    if config.criterion == "magnitude":
        return magnitude(config.norm)
    if config.criterion == "random":
        return RandomImportance(config.seed)
    if config.data is None:  # the config's own check refused this already
        raise ArtifactError("There are no frames to look at.")
    dataset = open_dataset(config.data, config.split)
    check_classes(manifest.classes, dataset.classes, dataset.spec)
    batches = _batches(dataset, manifest, config.batches)
    if config.criterion == "activation":
        return ActivationImportance(module, batches)
    return TaylorImportance(module, batches, dataset.ignore_index)


def _batches(dataset: SegmentationDataset, manifest: Manifest, count: int) -> Iterator[Batch]:
    """Yields preprocessed frames and labels at the input's size, spread evenly over the split."""
    preprocess = Preprocessor(manifest.input)
    indices = spread(len(dataset), count * BATCH_SIZE)
    starts = range(0, len(indices), BATCH_SIZE)
    for start in track(starts, "Scoring channels", total=len(starts)):
        images, labels = [], []
        for index in indices[start : start + BATCH_SIZE]:
            sample = dataset[index]
            if sample.label_hw_u8 is None:
                raise DataError(
                    f"{dataset.spec} ({dataset.split}): frame {sample.name} has no label.",
                    "Give a split with labels.",
                )
            images.append(preprocess(sample.image_hwc_u8)[0])
            labels.append(resize_class_map(sample.label_hw_u8, manifest.input.height, manifest.input.width))
        yield torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(labels))


def _pruned_manifest(manifest: Manifest, config: PruneConfig) -> Manifest:
    """Adds this stage to the history; accuracies measured before do not hold any more."""
    recorded: dict[str, Any] = config.model_dump(mode="json", exclude={"checkpoint", "out"}, exclude_none=True)
    stage = Stage(name="prune", settings=recorded)
    return manifest.model_copy(
        update={
            "parent_sha256": manifest.sha256,
            "stages": (*manifest.stages, stage),
            "accuracy": (),
            "parity": None,
        }
    )
