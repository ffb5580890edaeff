"""The pruning stage: checkpoint in, pruned checkpoint out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jetseg.models  # isort: skip  # noqa: F401 - says plainly that torch is missing
import numpy as np
import torch
from torch import Tensor, nn

from jetseg.compress.activity import Batch
from jetseg.compress.config import PruneConfig
from jetseg.compress.importance import Criterion, Subject, make_criterion
from jetseg.compress.layers import LayerChange, join_removals
from jetseg.compress.speed import SpeedMeter, SpeedReport, prune_to_speed
from jetseg.compress.structured import Pruner, PruneSettings, choose_counts
from jetseg.compress.two_four import prune_two_four
from jetseg.compress.unstructured import prune_unstructured
from jetseg.config import changed
from jetseg.data.contract import Split
from jetseg.data.dataset import Dataset, select_targets
from jetseg.errors import ArtifactError, ConfigError, DataError
from jetseg.evaluation.accuracy import check_frames, spread
from jetseg.evaluation.sparsity import gzip_bytes
from jetseg.evaluation.tasks import Figures, has_tasks, target_names
from jetseg.manifest import Manifest, ModelSpec, Stage
from jetseg.models.cost import module_cost
from jetseg.network import Network
from jetseg.onnx.cost import Cost
from jetseg.postprocess import resize_class_map
from jetseg.preprocess import Preprocessor
from jetseg.progress import track
from jetseg.storage import check_output
from jetseg.training.checkpoint import SUFFIX, load_checkpoint, rebuild, save_checkpoint, with_stated_sizes
from jetseg.training.task_frames import TaskFrames, resize_planes

BATCH_SIZE = 4


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
        miou: mIoU on the validation split in percent, if it was fine-tuned; of several tasks their mean score.
        tasks: Figures of each task before and after, of a network of several tasks with data.
    """

    checkpoint: Path
    before: Cost
    after: Cost
    layers: tuple[LayerChange, ...]
    speed: SpeedReport | None = None
    gzip_bytes: tuple[int, int] | None = None
    miou: float | None = None
    tasks: Mapping[str, tuple[Figures, Figures]] = field(default_factory=dict)


def prune_network(
    network: Network,
    config: PruneConfig,
    out: Path,
    *,
    dataset: Dataset | None = None,
    meter: SpeedMeter | None = None,
) -> PruneResult:
    """Prunes a checkpoint without fine-tuning it.

    Args:
        network: Checkpoint to prune.
        config: Settings.
        out: Checkpoint to write; ends in `.safetensors`.
        dataset: For the criteria that look at frames, and to compare the pruned network with the dense one.
        meter: Measures on the device; there if a speed is to be reached.

    Raises:
        QualityError: The wanted speed was not met closely enough.
        ArtifactError: The checkpoint is broken, or its network cannot be pruned.
        ConfigError: The criterion does not go with the method or lacks frames, a pattern in `keep` matches nothing, or
            nothing is left to prune.
        DataError: The dataset is broken, or its classes are not the network's.
    """
    check_output(out, SUFFIX, [network.path])
    name = config.scored_by(data=dataset is not None)
    criterion = make_criterion(name, config.method, frames=dataset is not None)
    module, manifest = load_checkpoint(network)
    spec = manifest.input
    shape = (1, spec.channels, spec.height, spec.width)
    before = module_cost(module, shape)
    frames = None if dataset is None else _frames(dataset, config, manifest)

    def subject(copy: nn.Module) -> Subject:
        """Describes a copy of the network to the criterion."""
        batches = None if frames is None else _batches(frames, manifest, config.batches)
        outputs = manifest.outputs if has_tasks(manifest) else ()
        ignored = None if frames is None else frames.ignore_index
        normalized = config.task_importance == "normalized"
        return Subject(copy, batches, ignored, config.seed, config.norm, outputs, normalized)

    speed = None
    if config.method == "structured":
        images = [] if frames is None else [Preprocessor(spec)(frames[0].image_hwc_u8)]
        pruner = Pruner(
            module,
            config.keep,
            torch.zeros(shape),
            lambda copy: criterion.channel_importance(subject(copy)),
            [torch.from_numpy(image) for image in images],
        )
        pruned, layers, speed = _prune_channels(pruner, config, meter)
    else:
        pruned, layers = _prune_weights(module, config, criterion, subject(module))
    recorded = config.model_dump(mode="json", exclude_none=True) | {"criterion": name}
    if dataset is not None:
        recorded["data"] = dataset.spec
    derived = manifest.derive(Stage(name="prune", settings=recorded), model=with_removed(manifest, layers))
    _save_checked(out, pruned, derived, torch.randn(shape))
    sizes = (gzip_bytes(network.path), gzip_bytes(out))
    return PruneResult(out, before, module_cost(pruned, shape), layers, speed, sizes)


def with_removed(manifest: Manifest, layers: Sequence[LayerChange]) -> ModelSpec | None:
    """Returns how the network is built, with the channels that are gone."""
    model = manifest.model
    if model is None:
        return None
    removed = dict(model.removed)
    for layer in layers:
        if layer.removed:
            removed[layer.name] = join_removals(layer.before, removed.get(layer.name, ()), layer.removed)
    return changed(model, removed=removed)


def _save_checked(out: Path, pruned: nn.Module, manifest: Manifest, image: Tensor) -> None:
    """Writes a checkpoint, after checking that the network can be built again from what is written."""
    with torch.no_grad():
        again = rebuild(with_stated_sizes(manifest, pruned), pruned.state_dict())
        same = torch.equal(again(image), pruned.eval()(image))
    if not same:
        raise ArtifactError(
            "The pruned network, built again by its factory, computes something else.",
            "Its factory must build the same network each time, and keep all of its state in weights and buffers.",
        )
    save_checkpoint(out, pruned, manifest)


def _prune_channels(
    pruner: Pruner, config: PruneConfig, meter: SpeedMeter | None
) -> tuple[nn.Module, tuple[LayerChange, ...], SpeedReport | None]:
    settings = _settings(config)
    if not config.wants_speed:
        kept = choose_counts(pruner.groups, settings)
        return *pruner.prune(kept, settings.round_to), None
    if meter is None:
        raise ConfigError("A speed is to be reached, and nothing measures it.", "Give a meter.")
    speedup = config.speedup
    if config.target_latency_ms is not None:
        (parent_ms,) = meter.networks_ms([pruner.module])
        speedup = parent_ms / config.target_latency_ms
        if speedup <= 1:
            raise ConfigError(f"The network takes {parent_ms:.2f} ms already.", "Ask for a lower `target_latency_ms`.")
    return prune_to_speed(pruner, settings, meter, float(speedup or 1), by_latency=config.by_latency)


def _prune_weights(
    module: nn.Module, config: PruneConfig, criterion: Criterion, subject: Subject
) -> tuple[nn.Module, tuple[LayerChange, ...]]:
    def score(layers: Mapping[str, nn.Module]) -> Mapping[str, Tensor]:
        scores = criterion.weight_scores(subject, layers)
        for name, layer in layers.items():
            shape = layer.get_parameter("weight").shape
            if name not in scores or scores[name].shape != shape:
                raise ConfigError(
                    f"`criterion` gave no score for each weight of {name}, which has shape {tuple(shape)}.",
                    "It must give a tensor of that shape for every layer.",
                )
        return scores

    if config.method == "2:4":
        return prune_two_four(module, config.keep, score)
    return prune_unstructured(module, _settings(config), score, threshold=config.threshold)


def _settings(config: PruneConfig) -> PruneSettings:
    return PruneSettings(
        ratio=config.ratio,
        scope="layer" if config.scope is None or config.scope == "latency" else config.scope,
        round_to=config.round_to,
        keep=config.keep,
        max_ratio=config.max_ratio if config.wants_speed else max(config.max_ratio, config.ratio),
        evenness=config.evenness,
    )


def _frames(dataset: Dataset, config: PruneConfig, manifest: Manifest) -> Split:
    """Opens the split that criteria look at."""
    split = dataset.split(config.split)
    if has_tasks(manifest):
        return select_targets(split, target_names(manifest))[0]
    check_frames(manifest.classes, split, purpose="to score channels on")
    return split


def _batches(dataset: Split, manifest: Manifest, count: int) -> Iterator[Batch]:
    """Yields preprocessed frames and labels at the input's size, spread evenly over the split."""
    preprocess = Preprocessor(manifest.input)
    if has_tasks(manifest):
        outputs = [
            changed(output, name=name) for output, name in zip(manifest.outputs, target_names(manifest), strict=True)
        ]
        labelled = TaskFrames(dataset, spread(len(dataset), count * BATCH_SIZE), 0, outputs)
        yield from _task_batches(labelled, preprocess, manifest)
        return
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


def _task_batches(frames: TaskFrames, preprocess: Preprocessor, manifest: Manifest) -> Iterator[Batch]:
    """Yields preprocessed frames, and their labels as a plane for each task."""
    size = manifest.input.height, manifest.input.width
    for start in track(range(0, len(frames), BATCH_SIZE), "Scoring channels", total=-(-len(frames) // BATCH_SIZE)):
        chosen = [frames[index] for index in range(start, min(start + BATCH_SIZE, len(frames)))]
        images = np.stack([preprocess(image)[0] for image, _ in chosen])
        labels = np.stack([resize_planes(np.asarray(planes, np.float32), *size) for _, planes in chosen])
        yield torch.from_numpy(images), torch.from_numpy(labels)
