"""Unstructured pruning: sets single weights of convolutions to zero; the shapes stay."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils import prune

from jetseg.compress.change import LayerChange
from jetseg.compress.groups import match_layers
from jetseg.compress.importance import Batch
from jetseg.compress.structured import PruneSettings
from jetseg.errors import ConfigError

_METHODS: dict[str, type[prune.BasePruningMethod]] = {
    "magnitude": prune.L1Unstructured,
    "random": prune.RandomUnstructured,
}


def prune_unstructured(
    module: nn.Module,
    settings: PruneSettings,
    criterion: Literal["magnitude", "random"],
    seed: int = 0,
    *,
    threshold: float | None = None,
    activity: Mapping[str, Tensor] | None = None,
) -> tuple[nn.Module, tuple[LayerChange, ...]]:
    """Returns a copy of a network in which a fraction of the convolutions' weights is zero.

    Args:
        module: The network.
        settings: `ratio` is the fraction of weights; "layer" scope zeroes it in every convolution, "global"
            over all of them. `round_to` and `max_ratio` do not apply.
        criterion: "magnitude" zeroes the smallest weights, "random" any.
        seed: Fixes the random choice.
        threshold: Zero the weights whose magnitude is below this, in place of a fraction.
        activity: By the convolution's name, how strong its inputs are; magnitudes are multiplied with it, so that
            weights which only ever meet small values go first (Sun et al., arXiv:2306.11695). See `input_activity`.

    Raises:
        ConfigError: A pattern in `keep` matches no layer, or nothing is left to prune.
    """
    pruned = copy.deepcopy(module)
    convolutions = {name: layer for name, layer in pruned.named_modules() if isinstance(layer, _ConvNd)}
    kept = match_layers(list(convolutions), settings.keep)
    targets = {name: layer for name, layer in convolutions.items() if name not in kept}
    if not targets:
        raise ConfigError("No convolution is left that could be pruned.", "Keep fewer layers.")
    if threshold is not None:
        for layer in targets.values():
            prune.custom_from_mask(layer, "weight", layer.weight.detach().abs() >= threshold)  # type: ignore[no-untyped-call]
    else:
        _mask_fraction_(targets, settings, criterion, seed, activity)
    for layer in targets.values():
        prune.remove(layer, "weight")  # type: ignore[no-untyped-call]
    changes = []
    for name, layer in convolutions.items():
        nonzero = int(torch.count_nonzero(layer.weight))
        changes.append(LayerChange(name, layer.weight.numel(), nonzero, "kept on request" if name in kept else ""))
    return pruned, tuple(changes)


def input_activity(module: nn.Module, batches: Iterable[Batch]) -> dict[str, Tensor]:
    """Measures how strong the inputs of the convolutions are.

    Args:
        module: The network, in eval mode.
        batches: Pairs of float32 N x C x H x W and labels, which are not used.

    Returns:
        By the convolution's name, the mean absolute value of each input channel, in the shape of one filter of its
        weight: what each weight is multiplied with on average.
    """
    names = {layer: name for name, layer in module.named_modules() if isinstance(layer, _ConvNd)}
    seen: dict[str, list[Tensor]] = {}

    def measure(layer: _ConvNd, inputs: tuple[Tensor, ...]) -> None:
        values = inputs[0].abs()
        seen.setdefault(names[layer], []).append(values.mean(dim=[i for i in range(values.ndim) if i != 1]))

    hooks = [layer.register_forward_pre_hook(measure) for layer in names]
    try:
        with torch.no_grad():
            for images, _ in batches:
                module(images)
    finally:
        for hook in hooks:
            hook.remove()
    return {
        names[layer]: _by_weight(layer, torch.stack(seen[names[layer]]).mean(0))
        for layer in names
        if names[layer] in seen
    }


def _by_weight(layer: _ConvNd, by_channel: Tensor) -> Tensor:
    """Spreads one number for each input channel over the weights that read the channel."""
    spatial = (1,) * len(layer.kernel_size)
    if isinstance(layer, _ConvTransposeNd):
        return by_channel.reshape(-1, 1, *spatial).expand_as(layer.weight)
    groups = by_channel.reshape(layer.groups, 1, -1, *spatial)
    shape = (layer.groups, layer.out_channels // layer.groups, groups.shape[2], *layer.kernel_size)
    return groups.expand(shape).reshape(layer.weight.shape)


def _mask_fraction_(
    layers: Mapping[str, _ConvNd],
    settings: PruneSettings,
    criterion: str,
    seed: int,
    activity: Mapping[str, Tensor] | None,
) -> None:
    method = _METHODS[criterion]
    scores = {}
    for name, layer in layers.items():
        weight = layer.weight.detach().abs()
        scores[name] = weight * activity[name] if activity is not None and name in activity else weight
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if settings.scope == "global":
            prune.global_unstructured(
                [(layer, "weight") for layer in layers.values()],
                pruning_method=method,
                importance_scores={(layer, "weight"): scores[name] for name, layer in layers.items()},
                amount=settings.ratio,
            )
        else:
            for name, layer in layers.items():
                given = {} if criterion == "random" else {"importance_scores": scores[name]}
                method.apply(layer, "weight", amount=settings.ratio, **given)  # type: ignore[no-untyped-call]
