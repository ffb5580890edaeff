"""Structured pruning: removes whole channels, so that the network gets smaller and faster anywhere.

Which layers are coupled comes from Torch-Pruning's dependency graph (Fang et al., arXiv:2301.12900); which
channels go is decided here, so that `round_to` and the guards hold for every layer.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.dropout import _DropoutNd

from jetseg.compress.change import LayerChange
from jetseg.compress.importance import Importance
from jetseg.compress.pruning_library import torch_pruning
from jetseg.errors import ArtifactError, ConfigError


class PruneSettings(BaseModel):
    """How much to remove, and where.

    Attributes:
        ratio: Fraction of the output channels to remove.
        scope: "layer" removes that fraction of every layer; "global" ranks all layers together.
        round_to: Layers that are pruned keep a multiple of this many channels.
        keep: Names of layers to leave alone; `*` and `?` match parts of a name.
        max_ratio: No layer loses more than this fraction, whatever the ranking says.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    ratio: float = Field(0.5, gt=0, lt=1)
    scope: Literal["global", "layer"] = "layer"
    round_to: int = Field(8, ge=1)
    keep: tuple[str, ...] = ()
    max_ratio: float = Field(0.9, gt=0, lt=1)


@dataclass(frozen=True)
class _Candidate:
    """Coupled layers that can only be pruned together.

    Attributes:
        root: The layer whose output channels are counted.
        layers: All layers that lose output channels with it.
        scores: Importance per channel, 1-D.
    """

    root: nn.Module
    layers: tuple[nn.Module, ...]
    scores: Tensor


def prune_structured(
    module: nn.Module,
    settings: PruneSettings,
    example_input: Tensor,
    make_importance: Callable[[nn.Module], Importance],
) -> tuple[nn.Module, tuple[LayerChange, ...]]:
    """Returns a smaller copy of a network and what happened to each layer; the given one is untouched.

    Layers that make the network's output are left alone, as are grouped convolutions that are not depthwise
    and layers under a group norm, whose groups would mix.

    Args:
        module: The network, on the CPU.
        settings: How much to remove, and where.
        example_input: float32, N x C x H x W, of the size that the network is made for.
        make_importance: Given the copy in eval mode, returns a criterion of `jetseg.compress.importance`.

    Raises:
        ConfigError: A pattern in `keep` matches no layer, or nothing is left to prune.
        ArtifactError: The network cannot be traced, or does not run after pruning.
    """
    pruned = copy.deepcopy(module).eval().requires_grad_(True)
    names = {layer: name for name, layer in pruned.named_modules()}
    before = _channel_counts(pruned)
    notes = dict.fromkeys(match_layers(list(before), settings.keep), "kept on request")
    graph = _trace(pruned, example_input)
    importance = make_importance(pruned)
    candidates = list(_candidates(graph, importance, names, notes))
    if not candidates:
        raise ConfigError("No layer is left that could be pruned.", "Keep fewer layers.")
    for candidate, removed in zip(candidates, choose_channels(candidates, settings), strict=True):
        if removed:
            handler = graph.get_pruner_of_module(candidate.root).prune_out_channels
            graph.get_pruning_group(candidate.root, handler, removed).prune()
        if (len(candidate.scores) - len(removed)) % settings.round_to:
            note = f"not a multiple of {settings.round_to}, and too small to become one"
            notes.update({names[layer]: note for layer in candidate.layers})
    pruned.zero_grad(set_to_none=True)
    _check_runs(module, pruned, example_input)
    after = _channel_counts(pruned)
    return pruned, tuple(LayerChange(name, before[name], after[name], notes.get(name, "")) for name in before)


def match_layers(names: Sequence[str], patterns: Sequence[str]) -> set[str]:
    """Returns the layers that any pattern matches, wholly or as the name of a part that holds them.

    Raises:
        ConfigError: A pattern matches nothing.

    >>> sorted(match_layers(["stem.0", "head.0", "head.1"], ["head"]))
    ['head.0', 'head.1']
    """
    matched: set[str] = set()
    for pattern in patterns:
        hits = {name for name in names if fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")}
        if not hits:
            raise ConfigError(f"The pattern {pattern!r} matches no layer.", f"The layers are: {', '.join(names)}.")
        matched |= hits
    return matched


def choose_channels(candidates: Sequence[_Candidate], settings: PruneSettings) -> list[list[int]]:
    """Returns, for each group of layers, the channels to remove: the ones with the lowest scores."""
    if settings.scope == "global":
        ranked = torch.cat([candidate.scores for candidate in candidates])
        lowest = torch.argsort(ranked, stable=True)[: math.floor(settings.ratio * len(ranked))]
        doomed = torch.zeros(len(ranked), dtype=torch.bool)
        doomed[lowest] = True
        sizes = [len(candidate.scores) for candidate in candidates]
        targets = [int(part.sum()) for part in torch.split(doomed, sizes)]
    else:
        targets = [math.floor(settings.ratio * len(candidate.scores)) for candidate in candidates]
    removed = []
    for candidate, target in zip(candidates, targets, strict=True):
        count = len(candidate.scores) - kept_channels(len(candidate.scores), target, settings)
        removed.append(sorted(torch.argsort(candidate.scores, stable=True)[:count].tolist()))
    return removed


def kept_channels(channels: int, removed: int, settings: PruneSettings) -> int:
    """Returns how many channels stay: a multiple of `round_to`, or all of them.

    >>> kept_channels(48, 24, PruneSettings(round_to=16)), kept_channels(12, 6, PruneSettings(round_to=16))
    (32, 12)
    """
    least = max(channels - removed, math.ceil(channels * (1 - settings.max_ratio)), 1)
    # half way rounds up: accuracy is worth more than speed
    rounded = max(1, math.floor(least / settings.round_to + 0.5)) * settings.round_to
    return min(rounded, channels)


def _channel_counts(module: nn.Module) -> dict[str, int]:
    counts = {}
    for name, layer in module.named_modules():
        if isinstance(layer, _ConvNd):
            counts[name] = layer.out_channels
        elif isinstance(layer, nn.Linear):
            counts[name] = layer.out_features
    return counts


def _trace(module: nn.Module, example_input: Tensor) -> Any:  # noqa: ANN401 - torch_pruning has no types
    """Builds the dependency graph, auxiliary heads included."""

    def forward(network: nn.Module, images: Tensor) -> list[Tensor]:
        with _training_heads(network):
            outputs = network(images)
        # Torch-Pruning marks the last operation as the output; a layer must not be that operation
        return [head * 1 for head in (outputs if isinstance(outputs, tuple | list) else (outputs,))]

    try:
        return torch_pruning.DependencyGraph().build_dependency(
            module, example_input, forward_fn=forward, verbose=False
        )
    except Exception as error:  # whatever a foreign network or the tracer raises
        raise ArtifactError(
            f"The network could not be traced for pruning: {type(error).__name__}: {error}.",
            "Check that its forward runs under autograd and returns tensors.",
        ) from error


@contextmanager
def _training_heads(module: nn.Module) -> Iterator[None]:
    """Sets training mode, so that auxiliary heads run, but freezes what depends on the batch."""
    module.train()
    for layer in module.modules():
        if isinstance(layer, (_NormBase, _DropoutNd)):
            layer.eval()
    try:
        yield
    finally:
        module.eval()


def _candidates(
    graph: Any,  # noqa: ANN401 - torch_pruning has no types
    importance: Importance,
    names: dict[nn.Module, str],
    notes: dict[str, str],
) -> Iterator[_Candidate]:
    """Yields the groups of layers that may be pruned; adds to `notes` why others may not."""
    for group in graph.get_all_groups(root_module_types=[_ConvNd, nn.Linear]):
        members = [item.dep.target.module for item in group]
        layers = tuple(
            item.dep.target.module
            for item in group
            if isinstance(item.dep.target.module, (_ConvNd, nn.Linear))
            and graph.is_out_channel_pruning_fn(item.dep.handler)
        )
        reason = _reason_to_keep(members, layers, [notes.get(names[layer], "") for layer in layers])
        scores = None if reason else importance(group)
        if scores is None:
            for layer in layers:
                notes.setdefault(names[layer], reason or "kept: its channels could not be scored")
            continue
        yield _Candidate(members[0], layers, torch.nan_to_num(scores.detach().float().cpu()))


def _reason_to_keep(members: Sequence[nn.Module], layers: Sequence[nn.Module], notes: Sequence[str]) -> str:
    if any(isinstance(member, torch_pruning.ops._OutputOp) for member in members):
        return "kept: makes the output"
    if any(isinstance(member, nn.GroupNorm) for member in members):
        return "kept: group norm"
    if any(
        isinstance(member, _ConvNd)
        and member.groups > 1
        and not member.groups == member.in_channels == member.out_channels
        for member in members
    ):
        return "kept: grouped convolution"
    if any(notes):
        return "kept: coupled with a layer that is kept"
    return "" if layers else "kept"


def _check_runs(dense: nn.Module, pruned: nn.Module, example_input: Tensor) -> None:
    advice = "Layers whose channel count is written into the network's forward must be kept (--keep NAME)."
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
