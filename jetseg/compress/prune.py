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
    BatchNormImportance,
    Importance,
    RandomImportance,
    TaylorImportance,
    magnitude,
)
from jetseg.compress.speed import SpeedMeter, SpeedReport, prune_to_speed
from jetseg.compress.structured import Pruner, PruneSettings, Scope, choose_counts
from jetseg.compress.two_four import prune_two_four
from jetseg.compress.unstructured import input_activity, prune_unstructured
from jetseg.data.contract import Split
from jetseg.data.dataset import open_split
from jetseg.errors import ConfigError, DataError
from jetseg.evaluate.accuracy import check_classes, spread
from jetseg.evaluate.sparsity import gzip_bytes
from jetseg.manifest import EnginePrecision, Manifest, Stage
from jetseg.models.cost import module_cost
from jetseg.onnx.cost import Cost
from jetseg.postprocess import resize_class_map
from jetseg.preprocess import Preprocessor
from jetseg.progress import track
from jetseg.train.checkpoint import load_checkpoint, save_checkpoint

BATCH_SIZE = 4

Criterion = Literal["magnitude", "bn-scale", "activation", "taylor", "random"]


class PruneConfig(BaseModel):
    """Settings of the pruning stage.

    Attributes:
        checkpoint: Network to prune.
        out: Checkpoint to write; ends in `.safetensors`.
        method: "structured" removes channels; "unstructured" sets single weights to zero; "2:4" sets two of every four
            neighboring ones to zero, which sparse tensor cores use.
        criterion: What makes a channel or weight unimportant. By default "taylor" with scope "latency" where there are
            data, because its scores of different layers compare; "magnitude" elsewhere.
        ratio: Fraction of channels (structured) or weights (unstructured) to remove.
        scope: "layer" removes that fraction of every layer; "global" ranks all layers together; "isomorphic" those
            that are wired alike; "latency" thins the layers that cost the least importance per millisecond, and needs
            a speed to reach. By default "latency" where there is one, "layer" elsewhere.
        round_to: Structured: pruned layers keep a multiple of this many channels.
        max_ratio: Structured: no layer loses more than this fraction.
        norm: Structured magnitude: 1 for the L1 norm, 2 for the squared L2 norm.
        data: Dataset spec, for the criteria that look at frames.
        split: Split of it.
        batches: Batches of 4 frames to look at, spread evenly over the split.
        seed: Fixes the random criterion.
        keep: Names of layers to leave alone; `*` and `?` match parts of a name.
        threshold: Unstructured magnitude: weights below this are set to zero, in place of `ratio`.
        speedup: Structured: how many times as fast the network shall be, measured; in place of `ratio`.
        target_latency_ms: Structured: latency that the network shall have, measured; in place of `ratio`.
        backend: What the speed is measured on.
        precision: Precision that it is measured in.
        threads: Threads of a CPU backend while measuring.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    checkpoint: Path
    out: Path
    method: Literal["structured", "unstructured", "2:4"] = "structured"
    criterion: Criterion | None = None
    ratio: float = Field(0.5, gt=0, lt=1)
    scope: Scope | Literal["latency"] | None = None
    round_to: int = Field(8, ge=1)
    max_ratio: float = Field(0.9, gt=0, lt=1)
    norm: Literal[1, 2] = 2
    data: str | None = None
    split: str = "train"
    batches: int = Field(16, ge=1)
    seed: int = 0
    keep: tuple[str, ...] = ()
    threshold: float | None = Field(None, gt=0)
    speedup: float | None = Field(None, gt=1)
    target_latency_ms: float | None = Field(None, gt=0)
    backend: str = "onnxruntime"
    precision: EnginePrecision = "fp32"
    threads: int = Field(1, ge=1)

    @property
    def wants_speed(self) -> bool:
        """Whether a speed is to be reached, not a number of channels."""
        return self.speedup is not None or self.target_latency_ms is not None

    @property
    def by_latency(self) -> bool:
        """Whether layers are thinned by importance per millisecond."""
        return self.method == "structured" and self.wants_speed and self.scope in (None, "latency")

    @property
    def scored_by(self) -> Criterion:
        """The criterion, chosen or by default."""
        return self.criterion or ("taylor" if self.by_latency and self.data is not None else "magnitude")

    @model_validator(mode="after")
    def _consistent(self) -> PruneConfig:
        for mistake in self._mistakes():
            raise ValueError(mistake)
        if self.out.suffix != ".safetensors":
            raise ValueError("out must end in .safetensors")
        if self.out.resolve() == self.checkpoint.resolve():
            raise ValueError("out must be another file than checkpoint")
        return self

    def _mistakes(self) -> Iterator[str]:
        structured = self.method == "structured"
        takes = {
            "structured": ("magnitude", "bn-scale", "activation", "taylor", "random"),
            "unstructured": ("magnitude", "activation", "random"),
            "2:4": ("magnitude",),
        }[self.method]
        if self.scored_by not in takes:
            yield f"criterion {self.criterion} does not go with method {self.method}, which takes {', '.join(takes)}"
        if self.criterion in ("activation", "taylor") and self.data is None:
            yield f"criterion {self.criterion} looks at frames: give data"
        if self.threshold is not None and (self.method != "unstructured" or self.scored_by != "magnitude"):
            yield "threshold needs method unstructured and criterion magnitude"
        if self.speedup is not None and self.target_latency_ms is not None:
            yield "give speedup or target_latency_ms, not both"
        if self.wants_speed and not structured:
            yield f"method {self.method} removes no work that a processor could skip by itself: no speed to reach"
        if self.scope == "latency" and not self.wants_speed:
            yield "scope latency needs speedup or target_latency_ms"
        if self.method == "unstructured" and self.scope not in (None, "layer", "global"):
            yield f"method unstructured has no scope {self.scope}"


@dataclass(frozen=True)
class PruneResult:
    """What pruning made.

    Attributes:
        checkpoint: The pruned checkpoint.
        before: Parameters and multiply-accumulates of one inference before.
        after: The same after; zeros count as weights.
        layers: What happened to each layer.
        speed: How a wanted speed was reached; None if none was wanted.
        gzip_bytes: Size of the checkpoint before and after, compressed with gzip: what zeros alone save.
    """

    checkpoint: Path
    before: Cost
    after: Cost
    layers: tuple[LayerChange, ...]
    speed: SpeedReport | None = None
    gzip_bytes: tuple[int, int] | None = None


def run(config: PruneConfig, meter: SpeedMeter | None = None) -> PruneResult:
    """Prunes a checkpoint without fine-tuning it.

    Args:
        config: Settings.
        meter: Measures on the device; there if a speed is to be reached.

    Raises:
        QualityError: The wanted speed was not met closely enough.
        ArtifactError: The checkpoint is broken, or its network cannot be pruned.
        ConfigError: A pattern in `keep` matches nothing, or nothing is left to prune.
        DataError: The dataset is broken, or its classes are not the network's.
    """
    module, manifest = load_checkpoint(config.checkpoint)
    spec = manifest.input
    shape = (1, spec.channels, spec.height, spec.width)
    before = module_cost(module, shape)
    speed = None
    if config.method == "2:4":
        pruned, layers = prune_two_four(module, config.keep)
    elif config.method == "unstructured":
        pruned, layers = _prune_weights(module, config, manifest)
    else:
        pruner = Pruner(module, config.keep, torch.zeros(shape), lambda copy: _importance(copy, config, manifest))
        pruned, layers, speed = _prune_channels(pruner, config, meter)
    save_checkpoint(config.out, pruned, _pruned_manifest(manifest, config))
    sizes = (gzip_bytes(config.checkpoint), gzip_bytes(config.out))
    return PruneResult(config.out, before, module_cost(pruned, shape), layers, speed, sizes)


def _prune_channels(
    pruner: Pruner, config: PruneConfig, meter: SpeedMeter | None
) -> tuple[nn.Module, tuple[LayerChange, ...], SpeedReport | None]:
    settings = _settings(config)
    if not config.wants_speed:
        kept = choose_counts(pruner.candidates, settings)
        return *pruner.prune(kept, settings.round_to), None
    if meter is None:
        raise ConfigError("A speed is to be reached, and nothing measures it.", "Give a meter.")
    speedup = config.speedup
    if config.target_latency_ms is not None:
        (parent_ms,) = meter.networks_ms([pruner.module])
        speedup = parent_ms / config.target_latency_ms
        if speedup <= 1:
            raise ConfigError(f"The network takes {parent_ms:.2f} ms already.", "Ask for a lower --target-latency-ms.")
    return prune_to_speed(pruner, settings, meter, float(speedup or 1), by_latency=config.by_latency)


def _prune_weights(
    module: nn.Module, config: PruneConfig, manifest: Manifest
) -> tuple[nn.Module, tuple[LayerChange, ...]]:
    activity = None
    if config.scored_by == "activation":
        activity = input_activity(module, _frames(config, manifest)[1])
    criterion: Literal["magnitude", "random"] = "random" if config.scored_by == "random" else "magnitude"
    return prune_unstructured(
        module, _settings(config), criterion, config.seed, threshold=config.threshold, activity=activity
    )


def _settings(config: PruneConfig) -> PruneSettings:
    return PruneSettings(
        ratio=config.ratio,
        scope="layer" if config.scope in (None, "latency") else config.scope,
        round_to=config.round_to,
        keep=config.keep,
        max_ratio=config.max_ratio if config.wants_speed else max(config.max_ratio, config.ratio),
    )


def _importance(module: nn.Module, config: PruneConfig, manifest: Manifest) -> Importance:
    if config.scored_by == "magnitude":
        return magnitude(config.norm)
    if config.scored_by == "random":
        return RandomImportance(config.seed)
    if config.scored_by == "bn-scale":
        return BatchNormImportance()
    dataset, batches = _frames(config, manifest)
    if config.scored_by == "activation":
        return ActivationImportance(module, batches)
    return TaylorImportance(module, batches, dataset.ignore_index)


def _frames(config: PruneConfig, manifest: Manifest) -> tuple[Split, Iterator[Batch]]:
    """Opens the dataset that criteria look at; the config's own check made sure that there is one."""
    dataset = open_split(str(config.data), config.split)
    check_classes(manifest.classes, dataset.classes, dataset.spec)
    return dataset, _batches(dataset, manifest, config.batches)


def _batches(dataset: Split, manifest: Manifest, count: int) -> Iterator[Batch]:
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
                    "Give a split with labels, or a criterion that looks at none.",
                )
            images.append(preprocess(sample.image_hwc_u8)[0])
            labels.append(resize_class_map(sample.label_hw_u8, manifest.input.height, manifest.input.width))
        yield torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(labels))


def _pruned_manifest(manifest: Manifest, config: PruneConfig) -> Manifest:
    """Adds this stage to the history; accuracies measured before do not hold any more."""
    recorded: dict[str, Any] = config.model_dump(mode="json", exclude={"checkpoint", "out"}, exclude_none=True)
    recorded["criterion"] = config.scored_by
    return manifest.derive(Stage(name="prune", settings=recorded))
