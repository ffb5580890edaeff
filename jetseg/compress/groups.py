"""Which layers can only be pruned together, and which may not be pruned at all.

The couplings come from Torch-Pruning's dependency graph (Fang et al., arXiv:2301.12900).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.dropout import _DropoutNd

from jetseg.compress.layers import channel_counts, match_layers
from jetseg.errors import ArtifactError, ConfigError, MissingDependencyError

try:
    import torch_pruning
except ImportError as error:  # pragma: no cover - depends on the machine
    raise MissingDependencyError("torch_pruning", "train", "prunes networks") from error

Importance = Callable[[Any], Tensor | None]
"""Given a full group of coupled layers of Torch-Pruning, returns one score per channel of its root, or None."""
group_magnitude: Callable[..., Importance] = torch_pruning.importance.GroupMagnitudeImportance
"""Importance by the weights of all layers that would lose the channel."""
READING = (torch_pruning.prune_conv_in_channels, torch_pruning.prune_linear_in_channels)
"""Operations of Torch-Pruning that remove input channels of a layer."""


@dataclass(frozen=True)
class PruningGroup:
    """Coupled layers that can only be pruned together.

    Attributes:
        root: Name of the layer whose output channels are counted.
        layers: All layers that lose output channels with it, by name: how many for each channel of the root.
        readers: The same for layers that lose input channels.
        scores: Importance per channel of the root, 1-D.
        kind: The same for groups that are wired alike: types and kernels of all that is coupled.
    """

    root: str
    layers: Mapping[str, float]
    readers: Mapping[str, float]
    scores: Tensor
    kind: tuple[str, ...] = ()


def find_groups(
    module: nn.Module, keep: Sequence[str], example_input: Tensor, importance: Importance
) -> tuple[list[PruningGroup], dict[str, str]]:
    """Finds the groups of layers that may be pruned, and scores their channels.

    Args:
        module: The network, in eval mode and with gradients enabled; it is not changed.
        keep: Patterns of layers to leave alone.
        example_input: float32, N x C x H x W.
        importance: Scores the channels of a group of `module`.

    Returns:
        The groups, and why each other layer is kept, by name.

    Raises:
        ConfigError: A pattern matches no layer, nothing is left to prune, or scores are not one per channel.
        ArtifactError: The network cannot be traced.
    """
    names = {layer: name for name, layer in module.named_modules()}
    notes = dict.fromkeys(match_layers(list(channel_counts(module)), keep), "kept on request")
    found: list[PruningGroup] = []
    for group in trace(module, example_input).get_all_groups(root_module_types=[_ConvNd, nn.Linear]):
        members = [item.dep.target.module for item in group]
        layers = _shares(group, names, reading=False)
        reason = _reason_to_keep(members, [notes.get(name, "") for name in layers])
        scores = None if reason else importance(group)
        if scores is None:
            for name in layers:
                notes.setdefault(name, reason or "kept: its channels could not be scored")
            continue
        if scores.shape != (len(group[0].idxs),):
            raise ConfigError(
                f"The criterion gave scores of shape {tuple(scores.shape)} for the {len(group[0].idxs)} channels of "
                f"{names[members[0]]}.",
                "It must give one per channel of the group's root.",
            )
        scores = torch.nan_to_num(scores.detach().float().cpu())
        found.append(PruningGroup(names[members[0]], layers, _shares(group, names, reading=True), scores, _kind(group)))
    if not found:
        raise ConfigError("No layer is left that could be pruned.", "Keep fewer layers, or take another criterion.")
    return found, notes


def trace(module: nn.Module, example_input: Tensor) -> Any:  # noqa: ANN401 - torch_pruning has no types
    """Builds the dependency graph, auxiliary heads included."""

    def forward(network: nn.Module, images: Tensor) -> list[Tensor]:
        with training_heads(network):
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


def mixing_layers(module: nn.Module) -> list[_ConvNd | nn.Linear]:
    """Returns the layers that mix channels; a depthwise convolution only passes them on."""
    return [
        layer
        for layer in module.modules()
        if isinstance(layer, nn.Linear) or (isinstance(layer, _ConvNd) and layer.groups == 1)
    ]


def sum_over_readers(group: Any, rows: Mapping[nn.Module, Tensor]) -> Tensor | None:  # noqa: ANN401
    """Adds up what is known about the channels of a group's root, over all layers that read them.

    Args:
        group: Group of `torch_pruning`.
        rows: Per reading layer, observations x its input channels.

    Returns:
        Observations x channels of the root; None if no layer reads them.
    """
    total = None
    for item in group:
        layer = item.dep.target.module
        if item.dep.handler in READING and layer in rows:
            read = rows[layer][:, item.idxs]
            if total is None:
                total = torch.zeros(len(read), len(group[0].idxs), dtype=read.dtype)
            total.index_add_(1, torch.tensor(item.root_idxs), read)
    return total


@contextmanager
def training_heads(module: nn.Module) -> Iterator[None]:
    """Sets training mode, so that auxiliary heads run, but freezes what depends on the batch."""
    module.train()
    for layer in module.modules():
        if isinstance(layer, (_NormBase, _DropoutNd)):
            layer.eval()
    try:
        yield
    finally:
        module.eval()


def _shares(group: Any, names: Mapping[nn.Module, str], *, reading: bool) -> dict[str, float]:  # noqa: ANN401
    """Returns how many output or input channels each layer loses for each channel of the root."""
    shares: dict[str, float] = {}
    for item in group:
        layer = item.dep.target.module
        if isinstance(layer, (_ConvNd, nn.Linear)) and (item.dep.handler in READING) == reading:
            shares[names[layer]] = shares.get(names[layer], 0.0) + len(item.idxs) / len(group[0].idxs)
    return shares


def _kind(group: Any) -> tuple[str, ...]:  # noqa: ANN401
    """Describes how a group is wired, whatever the number of its channels."""
    parts = []
    for item in group:
        layer = item.dep.target.module
        kernel = tuple(layer.kernel_size) if isinstance(layer, _ConvNd) else ()
        parts.append(f"{type(layer).__name__}{kernel}.{item.dep.handler.__name__}")
    return tuple(sorted(parts))


def _reason_to_keep(members: Sequence[nn.Module], notes: Sequence[str]) -> str:
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
    return "" if notes else "kept"
