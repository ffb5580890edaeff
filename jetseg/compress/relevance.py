"""What channels answer to: how much each speaks for a class, and what the class loses where they are gone.

Relevance is gradient times activation (Ancona et al., arXiv:1711.06104) of the class's log-probability at its own
pixels, summed over a frame where convolutions read the channel, and averaged over frames; see also `Taylor` in
`jetseg.compress.importance`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import jetseg.models  # isort: skip  # noqa: F401 - says plainly that torch is missing
import numpy as np
import torch
from torch import Tensor, nn

from jetseg.compress.batch_norms import reestimate_
from jetseg.compress.channels.tracing import trace_channels
from jetseg.compress.groups import PruningGroup, find_groups, mixing_layers, sum_over_readers
from jetseg.compress.importance import change_by_input_channel
from jetseg.data.contract import Split
from jetseg.evaluation.confusion import ConfusionMatrix
from jetseg.evaluation.fewest import fewest
from jetseg.manifest import Manifest, ModelSpec
from jetseg.models.layers import two_channels
from jetseg.network import Network
from jetseg.postprocess import class_map, resize_class_map
from jetseg.preprocess import Preprocessor
from jetseg.progress import track
from jetseg.training.checkpoint import load_checkpoint
from jetseg.training.task_losses import split_scores

MOST = 5
"""How many channels of a layer are said to matter most to a class."""
_TRIED = 8
"""So many layers, those that lost most of what mattered, are tried alone."""
_BATCH = 8
"""Frames at a time from which batch norms are estimated anew."""


@dataclass(frozen=True)
class LostChannels:
    """What a layer lost.

    Attributes:
        layer: Its name; layers that are pruned together go by the first.
        gone: Its output channels that are gone.
        most: Those that mattered most to the class, the most important first.
        relevance: Share of all that speaks for the class in it that is gone, 0..1.
        alone: Points of IoU that the class loses if these channels alone are gone; None if that was not tried.
        restored: Points that come back if they stay, and all others go; likewise.
    """

    layer: str
    gone: tuple[int, ...]
    most: tuple[int, ...]
    relevance: float
    alone: float | None = None
    restored: float | None = None


@dataclass(frozen=True)
class LostRelevance:
    """What pruning took from a class.

    Attributes:
        dense: IoU of the class on the frames, in percent.
        masked: The same with all removed channels silenced.
        layers: The layers, the worst first.
        least: With the channels of so many of them back, from the first on, half of what was lost comes back.
        won: The points that come back with these.
    """

    dense: float
    masked: float
    layers: tuple[LostChannels, ...]
    least: int
    won: float


def lost_relevance(
    parent: Network,
    child: ModelSpec,
    split: Split,
    indices: Sequence[int],
    subject: str,
    *,
    task: str | None = None,
    trained: bool = False,
) -> LostRelevance | None:
    """Finds out which of the channels that pruning took mattered to a class.

    Args:
        parent: Checkpoint of the network before pruning.
        child: How the pruned network is built.
        split: Labelled frames.
        indices: Which of them to look at.
        subject: The class.
        task: Of a network of several, the one that has the class.
        trained: The child was trained after pruning. What training repairs first is undone in every experiment:
            batch norms are estimated anew on the frames.

    Returns:
        What was found; None where the child lost no channels that are known.

    Raises:
        ArtifactError: The checkpoint is broken.
    """
    module, manifest = load_checkpoint(parent)
    gone = removed_since(manifest.model, child)
    if not gone:
        return None
    for parameter in module.parameters():
        parameter.requires_grad_(True)
    spec = manifest.input
    trace = trace_channels(module, torch.zeros(1, spec.channels, spec.height, spec.width))
    groups, _ = find_groups(module, trace, ())
    units = {number: found for number, group in enumerate(groups) if (found := _units(group, gone))}
    if not units:
        return None
    if task is not None:
        manifest = _only_task_(module, manifest, task)
    frames = list(_frames(split, indices, manifest))
    scored = _Scored(module, groups, frames, manifest, split.ignore_index, subject, trained)
    return _silenced(scored, units, _relevance(module, groups, frames, split.classes.index(subject)))


def _only_task_(module: nn.Module, manifest: Manifest, task: str) -> Manifest:
    """Lets a network give the scores of one task only; returns the manifest that describes it so."""
    number = [output.label for output in manifest.outputs].index(task)
    outputs = manifest.outputs
    module.register_forward_hook(lambda _module, _inputs, joined: split_scores(joined, outputs)[number])
    return manifest.tasks[number]


def _silenced(scored: _Scored, units: Mapping[int, Sequence[int]], relevance: Mapping[int, Tensor]) -> LostRelevance:
    """Silences what is gone, all together and by layer."""
    dense, masked = scored.iou({}), scored.iou(units)
    worst = sorted(
        ((number, _lost(scored.groups[number], gone, relevance.get(number))) for number, gone in units.items()),
        key=lambda entry: -entry[1].relevance,
    )
    tried = []
    for number, told in track(worst[:_TRIED], "Silencing channels"):
        others = {other: chosen for other, chosen in units.items() if other != number}
        alone, restored = dense - scored.iou({number: units[number]}), scored.iou(others) - masked
        tried.append((number, replace(told, alone=round(alone, 3), restored=round(restored, 3))))
    tried.sort(key=lambda entry: -max(entry[1].alone or 0.0, entry[1].restored or 0.0))
    ordered = [*tried, *worst[_TRIED:]]

    def gain(count: int) -> float:
        back = {number for number, _ in ordered[:count]}
        return scored.iou({number: gone for number, gone in units.items() if number not in back}) - masked

    least, won = fewest(len(ordered), (dense - masked) / 2, gain)
    return LostRelevance(round(dense, 3), round(masked, 3), tuple(told for _, told in ordered), least, round(won, 3))


def removed_since(parent: ModelSpec | None, child: ModelSpec) -> dict[str, tuple[int, ...]]:
    """Returns the output channels that a child lacks, by layer, numbered as in its parent.

    >>> parent = ModelSpec(factory="tiny", removed={"stem": (1,)})
    >>> removed_since(parent, ModelSpec(factory="tiny", removed={"stem": (0, 1, 3)}))
    {'stem': (0, 2)}
    """
    before: Mapping[str, tuple[int, ...]] = parent.removed if parent else {}
    found = {}
    for layer, channels in child.removed.items():
        earlier = before.get(layer, ())
        fresh = [channel - sum(other < channel for other in earlier) for channel in channels if channel not in earlier]
        if fresh:
            found[layer] = tuple(fresh)
    return found


Frame = tuple[Tensor, Tensor]
"""Input, 1 x C x H x W, and label, H x W, at the label's own size."""


def _frames(split: Split, indices: Sequence[int], manifest: Manifest) -> Iterator[Frame]:
    preprocess = Preprocessor(manifest.input)
    for index in indices:
        sample = split[index]
        if sample.label_hw_u8 is not None:
            yield torch.from_numpy(preprocess(sample.image_hwc_u8).copy()), torch.from_numpy(sample.label_hw_u8)


def _units(group: PruningGroup, gone: Mapping[str, Sequence[int]]) -> tuple[int, ...]:
    """Returns the units of a group that are gone."""
    for layer, part in group.outputs():
        if layer in gone:
            missing = np.isin(part.indices.numpy(), list(gone[layer])).all(axis=1)
            return tuple(np.flatnonzero(missing).tolist())
    return ()


def _relevance(
    module: nn.Module, groups: Sequence[PruningGroup], frames: Sequence[Frame], number: int
) -> dict[int, Tensor]:
    """Returns how much each unit of each group speaks for a class."""
    readers = mixing_layers(module)
    rows: dict[nn.Module, list[Tensor]] = {reader: [] for reader in readers}
    for image, label in track(frames, "Looking at what channels answer to"):
        module.zero_grad(set_to_none=True)
        logits = module(image)
        at = resize_class_map(label.numpy(), *logits.shape[2:]) == number
        if not at.any():
            continue
        likelihood = torch.log_softmax(two_channels(logits), dim=1)[0, number][torch.from_numpy(at)].sum()
        likelihood.backward()  # type: ignore[no-untyped-call]
        for reader in readers:
            rows[reader].append(change_by_input_channel(reader))
    means = {reader: torch.stack(found).mean(dim=0)[None] for reader, found in rows.items() if found}
    totals = {number: sum_over_readers(group, means) for number, group in enumerate(groups)}
    return {number: total[0] for number, total in totals.items() if total is not None}


def _lost(group: PruningGroup, units: Sequence[int], relevance: Tensor | None) -> LostChannels:
    layer, part = next(iter(group.outputs()))
    channels = part.indices[:, 0].tolist()
    gone = tuple(channels[unit] for unit in units)
    if relevance is None:
        return LostChannels(layer, gone, (), 0.0)
    speaks = relevance.clamp(min=0)
    order = torch.argsort(relevance, descending=True, stable=True)[:MOST].tolist()
    most = tuple(channels[unit] for unit in order if float(relevance[unit]) > 0)
    share = float(speaks[list(units)].sum() / speaks.sum().clamp(min=1e-30))
    return LostChannels(layer, gone, most, round(share, 4))


@dataclass(frozen=True)
class _Scored:
    """A network that is scored with some of its units silenced."""

    module: nn.Module
    groups: Sequence[PruningGroup]
    frames: Sequence[Frame]
    manifest: Manifest
    ignore_index: int | None
    subject: str
    trained: bool = False

    def iou(self, silenced: Mapping[int, Sequence[int]]) -> float:
        confusion = ConfusionMatrix(self.manifest.classes, self.ignore_index)
        with torch.no_grad(), self._without(silenced):
            for image, label in self.frames:
                ids = class_map(self.module(image).numpy(), self.manifest)
                confusion.update(label.numpy(), resize_class_map(ids, *label.shape))
        return confusion.score().per_class_iou[self.subject] or 0.0

    @contextmanager
    def _without(self, silenced: Mapping[int, Sequence[int]]) -> Iterator[None]:
        kept: dict[int, tuple[Tensor, Tensor]] = {}
        for number, units in silenced.items():
            for part in self.groups[number].slices:
                if part.tensor.is_floating_point():
                    kept.setdefault(id(part.tensor), (part.tensor, part.tensor.detach().clone()))
                    part.tensor.index_fill_(part.axis, part.indices[list(units)].flatten(), 0.0)
        if self.trained and len(self.frames) > 1:  # of one frame, a norm behind a global mean sees a single value
            norms = [values for name, values in self.module.named_buffers() if "running_" in name]
            kept |= {id(values): (values, values.detach().clone()) for values in norms if id(values) not in kept}
            images = torch.cat([image for image, _ in self.frames])
            reestimate_(self.module, torch.tensor_split(images, max(1, len(images) // _BATCH)))
        try:
            yield
        finally:
            for tensor, before in kept.values():
                tensor.copy_(before)
