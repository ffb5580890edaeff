"""Structured pruning: removes whole channels, so that the network gets smaller and faster anywhere.

Which channels go is decided here, so that `round_to` and the guards hold for every layer.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from jetseg.compress.config import Scope
from jetseg.compress.groups import Importance, PruningGroup, find_groups, trace
from jetseg.compress.layers import LayerChange, channel_counts
from jetseg.errors import ArtifactError


@dataclass(frozen=True)
class PruneSettings:
    """How much to remove, and where.

    Attributes:
        ratio: Fraction of the output channels to remove.
        scope: "layer" removes that fraction of every layer; "global" ranks all layers together; "isomorphic"
            ranks together the layers that are wired alike, which are the ones whose scores compare (Fang et al.,
            arXiv:2407.04616).
        round_to: Layers that are pruned keep a multiple of this many channels.
        keep: Names of layers to leave alone; `*` and `?` match parts of a name.
        max_ratio: No layer loses more than this fraction, whatever the ranking says.
    """

    ratio: float = 0.5
    scope: Scope = "layer"
    round_to: int = 8
    keep: tuple[str, ...] = ()
    max_ratio: float = 0.9


class Pruner:
    """A network whose channels are scored, ready to be pruned as often as one likes.

    Layers that make the network's output are left alone, as are grouped convolutions that are not depthwise
    and layers under a group norm, whose groups would mix.

    Args:
        module: The network, on the CPU; it is not changed.
        keep: Patterns of layers to leave alone.
        example_input: float32, N x C x H x W, of the size that the network is made for.
        make_importance: Given a copy in eval mode, returns what scores the channels of its groups.

    Attributes:
        module: The network.
        example_input: As given.
        groups: Layers that may be pruned, those that can only be pruned together as one.

    Raises:
        ConfigError: A pattern in `keep` matches no layer, or nothing is left to prune.
        ArtifactError: The network cannot be traced.
    """

    def __init__(
        self,
        module: nn.Module,
        keep: Sequence[str],
        example_input: Tensor,
        make_importance: Callable[[nn.Module], Importance],
    ) -> None:
        self.module = module
        self.example_input = example_input
        scored = _trainable_copy(module)
        self.groups, self._notes = find_groups(scored, keep, example_input, make_importance(scored))

    def prune(self, kept: Sequence[int], round_to: int) -> tuple[nn.Module, tuple[LayerChange, ...]]:
        """Returns a smaller copy of the network and what happened to each layer.

        Args:
            kept: Channels that each group keeps: those with the highest scores.
            round_to: Layers whose channels are not a multiple of this get a note.

        Raises:
            ArtifactError: The network does not run after pruning.
        """
        pruned = _trainable_copy(self.module)
        before = channel_counts(pruned)
        removed = {
            group.root: torch.argsort(group.scores, stable=True)[: len(group.scores) - count].tolist()
            for group, count in zip(self.groups, kept, strict=True)
        }
        _remove_(pruned, removed, self.example_input)
        notes = dict(self._notes)
        for group, count in zip(self.groups, kept, strict=True):
            if count % round_to:
                note = f"not a multiple of {round_to}, and too small to become one"
                notes.update(dict.fromkeys(group.layers, note))
        _check_runs(self.module, pruned, self.example_input)
        after = channel_counts(pruned)
        return pruned, tuple(LayerChange(name, before[name], after[name], notes.get(name, "")) for name in before)


def choose_counts(groups: Sequence[PruningGroup], settings: PruneSettings) -> list[int]:
    """Returns how many channels each group of layers keeps."""
    removed = [math.floor(settings.ratio * len(group.scores)) for group in groups]
    if settings.scope != "layer":
        pools: dict[tuple[str, ...], list[int]] = {}
        for index, group in enumerate(groups):
            pools.setdefault(group.kind if settings.scope == "isomorphic" else (), []).append(index)
        for pool in pools.values():
            counts = _lowest_overall([groups[index].scores for index in pool], settings.ratio)
            for index, count in zip(pool, counts, strict=True):
                removed[index] = count
    return [kept_channels(len(group.scores), count, settings) for group, count in zip(groups, removed, strict=True)]


def _lowest_overall(scores: Sequence[Tensor], ratio: float) -> list[int]:
    """Ranks the channels of several groups together; returns how many of each are among the lowest."""
    ranked = torch.cat(list(scores))
    removed = torch.zeros(len(ranked), dtype=torch.bool)
    removed[torch.argsort(ranked, stable=True)[: math.floor(ratio * len(ranked))]] = True
    return [int(part.sum()) for part in torch.split(removed, [len(part) for part in scores])]


def kept_channels(channels: int, removed: int, settings: PruneSettings) -> int:
    """Returns how many channels stay: a multiple of `round_to`, or all of them.

    >>> kept_channels(48, 24, PruneSettings(round_to=16)), kept_channels(12, 6, PruneSettings(round_to=16))
    (32, 12)
    """
    least = max(channels - removed, math.ceil(channels * (1 - settings.max_ratio)), 1)
    # half way rounds up: accuracy is worth more than speed
    rounded = max(1, math.floor(least / settings.round_to + 0.5)) * settings.round_to
    return min(rounded, channels)


def _trainable_copy(module: nn.Module) -> nn.Module:
    return copy.deepcopy(module).eval().requires_grad_(True)


def _remove_(module: nn.Module, removed: Mapping[str, list[int]], example_input: Tensor) -> None:
    """Removes channels of the layers by name, and of everything that is coupled with them."""
    graph = trace(module, example_input)
    for name, channels in removed.items():
        if channels:
            layer = module.get_submodule(name)
            handler = graph.get_pruner_of_module(layer).prune_out_channels
            graph.get_pruning_group(layer, handler, sorted(channels)).prune()
    module.zero_grad(set_to_none=True)


def _check_runs(dense: nn.Module, pruned: nn.Module, example_input: Tensor) -> None:
    advice = "Layers whose channel count is written into the network's forward must be kept (`keep`)."
    try:
        with torch.no_grad():
            shape = pruned(example_input).shape
    except Exception as error:
        raise ArtifactError(f"The pruned network does not run: {type(error).__name__}: {error}.", advice) from error
    was_training = dense.training
    with torch.no_grad():
        expected = dense.eval()(example_input).shape
    dense.train(was_training)
    if shape != expected:
        raise ArtifactError(
            f"The pruned network's output has shape {tuple(shape)} instead of {tuple(expected)}.", advice
        )
