"""Unstructured pruning: sets single weights of convolutions to zero; the shapes stay."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils import prune

from jetseg.compress.layers import LayerChange, match_layers
from jetseg.compress.structured import PruneSettings
from jetseg.errors import ConfigError
from jetseg.models.copying import copied

WeightScorer = Callable[[Mapping[str, nn.Module]], Mapping[str, Tensor]]
"""Given layers by name, returns a score of at least 0 for each weight of each, in the weight's shape."""


def prune_unstructured(
    module: nn.Module, settings: PruneSettings, score: WeightScorer, *, threshold: float | None = None
) -> tuple[nn.Module, tuple[LayerChange, ...]]:
    """Returns a copy of a network in which a fraction of the convolutions' weights is zero.

    Args:
        module: The network.
        settings: `ratio` is the fraction of weights; "layer" scope zeroes it in every convolution, "global"
            over all of them. `round_to` and `max_ratio` do not apply.
        score: Scores the weights of the convolutions that may be pruned; the lowest go.
        threshold: Zero the weights whose magnitude is below this, in place of a fraction.

    Raises:
        ConfigError: A pattern in `keep` matches no layer, or nothing is left to prune.
    """
    pruned = copied(module)
    convolutions = {name: layer for name, layer in pruned.named_modules() if isinstance(layer, _ConvNd)}
    kept = match_layers(list(convolutions), settings.keep)
    targets = {name: layer for name, layer in convolutions.items() if name not in kept}
    if not targets:
        raise ConfigError("No convolution is left that could be pruned.", "Keep fewer layers.")
    if threshold is not None:
        for layer in targets.values():
            prune.custom_from_mask(layer, "weight", layer.weight.detach().abs() >= threshold)  # type: ignore[no-untyped-call]
    else:
        _mask_fraction_(targets, settings, score(targets))
    for layer in targets.values():
        prune.remove(layer, "weight")  # type: ignore[no-untyped-call]
    changes = []
    for name, layer in convolutions.items():
        nonzero = int(torch.count_nonzero(layer.weight))
        changes.append(LayerChange(name, layer.weight.numel(), nonzero, "kept on request" if name in kept else ""))
    return pruned, tuple(changes)


def _mask_fraction_(layers: Mapping[str, _ConvNd], settings: PruneSettings, scores: Mapping[str, Tensor]) -> None:
    if settings.scope == "global":
        prune.global_unstructured(
            [(layer, "weight") for layer in layers.values()],
            pruning_method=prune.L1Unstructured,
            importance_scores={(layer, "weight"): scores[name] for name, layer in layers.items()},
            amount=settings.ratio,
        )
        return
    for name, layer in layers.items():
        prune.L1Unstructured.apply(layer, "weight", amount=settings.ratio, importance_scores=scores[name])  # type: ignore[no-untyped-call]
