"""Unstructured pruning: sets single weights of convolutions to zero; the shapes stay."""

from __future__ import annotations

import copy
from typing import Literal

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils import prune

from jetseg.compress.change import LayerChange
from jetseg.compress.groups import match_layers
from jetseg.compress.structured import PruneSettings
from jetseg.errors import ConfigError

_METHODS: dict[str, type[prune.BasePruningMethod]] = {
    "magnitude": prune.L1Unstructured,
    "random": prune.RandomUnstructured,
}


def prune_unstructured(
    module: nn.Module, settings: PruneSettings, criterion: Literal["magnitude", "random"], seed: int = 0
) -> tuple[nn.Module, tuple[LayerChange, ...]]:
    """Returns a copy of a network in which a fraction of the convolutions' weights is zero.

    Args:
        module: The network.
        settings: `ratio` is the fraction of weights; "layer" scope zeroes it in every convolution, "global"
            over all of them. `round_to` and `max_ratio` do not apply.
        criterion: "magnitude" zeroes the smallest weights, "random" any.
        seed: Fixes the random choice.

    Raises:
        ConfigError: A pattern in `keep` matches no layer, or nothing is left to prune.
    """
    pruned = copy.deepcopy(module)
    convolutions = {name: layer for name, layer in pruned.named_modules() if isinstance(layer, _ConvNd)}
    kept = match_layers(list(convolutions), settings.keep)
    targets = [layer for name, layer in convolutions.items() if name not in kept]
    if not targets:
        raise ConfigError("No convolution is left that could be pruned.", "Keep fewer layers.")
    _zero_weights_(targets, settings, criterion, seed)
    changes = []
    for name, layer in convolutions.items():
        nonzero = int(torch.count_nonzero(layer.weight))
        changes.append(LayerChange(name, layer.weight.numel(), nonzero, "kept on request" if name in kept else ""))
    return pruned, tuple(changes)


def _zero_weights_(layers: list[_ConvNd], settings: PruneSettings, criterion: str, seed: int) -> None:
    method = _METHODS[criterion]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if settings.scope == "global":
            parameters = [(layer, "weight") for layer in layers]
            prune.global_unstructured(parameters, pruning_method=method, amount=settings.ratio)
        else:
            for layer in layers:
                method.apply(layer, "weight", amount=settings.ratio)  # type: ignore[no-untyped-call]
    for layer in layers:
        prune.remove(layer, "weight")  # type: ignore[no-untyped-call]
