"""Structured pruning: removes whole channels, so that the network gets smaller and faster anywhere.

Which channels go is decided here, so that `round_to` and the guards hold for every layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from jetseg.compress.channels.tracing import trace_channels
from jetseg.compress.config import Scope
from jetseg.compress.groups import Importance, PruningGroup, find_groups
from jetseg.compress.layers import LayerChange, channel_counts
from jetseg.compress.removal import Remover
from jetseg.errors import ConfigError
from jetseg.models.copying import copied


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
        evenness: Power of a layer's thinness by which its channels count the more, where latency decides.
    """

    ratio: float = 0.5
    scope: Scope = "layer"
    round_to: int = 8
    keep: tuple[str, ...] = ()
    max_ratio: float = 0.9
    evenness: float = 3.0

    def for_group(self, group: PruningGroup) -> PruneSettings:
        """Returns the settings that count units of a group, each of which may be several channels."""
        return replace(self, round_to=group.step(self.round_to))


class Pruner:
    """A network whose channels are scored, ready to be pruned as often as one likes.

    Layers that make the network's output are left alone, as is what cannot be followed through the network's code or
    would not be the same without the channels, such as what a layer norm normalizes together.

    Args:
        module: The network, on the CPU; it is not changed.
        keep: Patterns of layers to leave alone.
        example_input: float32, N x C x H x W, of the size that the network is made for.
        make_importance: Given a copy in eval mode, returns what scores the units of its groups.
        images: float32, N x C x H x W each: real inputs to compare on, beside noise.

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
        images: Sequence[Tensor] = (),
    ) -> None:
        self.module = module
        self.example_input = example_input
        scored = _trainable_copy(module)
        trace = trace_channels(scored, example_input)
        groups, self._notes = find_groups(scored, trace, keep)
        importance = make_importance(scored)
        self.groups = [group for group in map(partial(self._scored, importance), groups) if group is not None]
        if not self.groups:
            raise ConfigError("No layer is left that could be pruned.", "Keep fewer layers, or take another criterion.")
        noise = torch.randn(example_input.shape, generator=torch.Generator().manual_seed(0)).to(example_input)
        self._remover = Remover(_trainable_copy(module), trace, self.groups, [noise, *images])

    def prune(self, kept: Sequence[int], round_to: int) -> tuple[nn.Module, tuple[LayerChange, ...]]:
        """Returns a smaller copy of the network and what happened to each layer.

        Args:
            kept: Units that each group keeps: those with the highest scores.
            round_to: Layers whose channels are not a multiple of this get a note.

        Raises:
            ConfigError: No group can be removed without changing something else.
        """
        before = channel_counts(self.module)
        removed = {
            number: torch.argsort(group.scores, stable=True)[: group.size - count].tolist()
            for number, (group, count) in enumerate(zip(self.groups, kept, strict=True))
        }
        pruned, rejected = self._remover.remove(removed)
        notes = dict(self._notes)
        for number, reason in rejected.items():
            notes.update(dict.fromkeys(self.groups[number].layers, reason))
        if rejected and len(rejected) == sum(map(bool, removed.values())):
            raise ConfigError(f"No layer of this network can be pruned. {'; '.join(sorted(set(rejected.values())))}.")
        after = channel_counts(pruned)
        for name, count in after.items():
            if count % round_to and name not in notes:
                notes[name] = f"not a multiple of {round_to}, and too small to become one"
        gone = self._removed_channels({number: units for number, units in removed.items() if number not in rejected})
        return pruned, tuple(
            LayerChange(name, before[name], after[name], notes.get(name, ""), gone.get(name, ())) for name in before
        )

    def _removed_channels(self, removed: Mapping[int, Sequence[int]]) -> dict[str, tuple[int, ...]]:
        """Returns the output channels that each layer loses."""
        found: dict[str, set[int]] = {}
        for number, units in removed.items():
            for layer, part in self.groups[number].outputs():
                found.setdefault(layer, set()).update(part.indices[list(units)].flatten().tolist())
        return {layer: tuple(sorted(channels)) for layer, channels in found.items() if channels}

    def _scored(self, importance: Importance, group: PruningGroup) -> PruningGroup | None:
        """Returns a group with its scores; None, with a note, for one that could not be scored."""
        scores = importance(group)
        if scores is None:
            for name in group.layers:
                self._notes.setdefault(name, "kept: its channels could not be scored")
            return None
        if scores.shape != (group.size,):
            raise ConfigError(
                f"The criterion gave scores of shape {tuple(scores.shape)} for the {group.size} channels of "
                f"{group.root}.",
                "It must give one per unit of the group.",
            )
        return replace(group, scores=torch.nan_to_num(scores.detach().float().cpu()))


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
    return [
        kept_channels(group.size, count, settings.for_group(group))
        for group, count in zip(groups, removed, strict=True)
    ]


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
    return copied(module).eval().requires_grad_(True)
