"""2:4 sparsity: of every four neighboring input channels, two weights are zero; the shapes stay.

Sparse tensor cores (NVIDIA Ampere and later, so Orin) skip these zeros (Mishra et al., arXiv:2104.08378).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from jetseg.compress.layers import LayerChange, match_layers
from jetseg.compress.unstructured import WeightScorer
from jetseg.errors import ConfigError
from jetseg.models.copying import copied

_GROUP = 4


def prune_two_four(
    module: nn.Module, keep: Sequence[str] = (), score: WeightScorer | None = None
) -> tuple[nn.Module, tuple[LayerChange, ...]]:
    """Returns a copy of a network in which the two least important weights of every four are zero.

    The four stand beside each other along the input channels, at one output channel and one position of the kernel:
    that is how TensorRT wants them.

    Args:
        module: The network.
        keep: Patterns of layers to leave alone.
        score: Scores the weights; by default their magnitude does.

    Returns:
        The copy, and for each convolution and linear layer its weights before and those that are not zero after; a
        layer that cannot be 2:4 says why.

    Raises:
        ConfigError: A pattern matches no layer, or no layer can be 2:4.
    """
    pruned = copied(module)
    layers = {name: layer for name, layer in pruned.named_modules() if isinstance(layer, (*_DENSE, nn.ConvTranspose2d))}
    kept = match_layers(list(layers), keep)
    notes = {name: "kept on request" if name in kept else reason_against(layer) for name, layer in layers.items()}
    if all(notes.values()):
        raise ConfigError("No layer is left that could be 2:4 sparse.", "Keep fewer layers.")
    targets = {name: layer for name, layer in layers.items() if not notes[name]}
    scores = {name: layer.weight for name, layer in targets.items()} if score is None else score(targets)
    for name, layer in targets.items():
        with torch.no_grad():
            layer.weight.mul_(two_four_mask(scores[name]))
    return pruned, tuple(
        LayerChange(name, layer.weight.numel(), int(torch.count_nonzero(layer.weight)), notes[name])
        for name, layer in layers.items()
    )


_DENSE = (nn.Conv2d, nn.Linear)


def reason_against(layer: nn.Module) -> str:
    """Returns why a layer cannot be 2:4 sparse; empty if it can."""
    if isinstance(layer, nn.ConvTranspose2d):
        return "cannot: transposed convolution"
    if isinstance(layer, nn.Conv2d) and layer.groups > 1:
        return "cannot: grouped convolution"
    channels = layer.weight.shape[1] if isinstance(layer, _DENSE) else 0
    if channels % _GROUP:
        return f"cannot: {channels} input channels are not a multiple of {_GROUP}"
    return ""


def two_four_mask(weight: Tensor) -> Tensor:
    """Returns where the two largest magnitudes of every four neighbors along axis 1 are.

    Args:
        weight: Output channels x input channels x ...; input channels are a multiple of 4.

    >>> two_four_mask(torch.tensor([[1.0, -3.0, 2.0, 0.5]])).tolist()
    [[False, True, True, False]]
    """
    groups = weight.detach().abs()
    groups = groups.reshape(len(groups), -1, _GROUP, *groups.shape[2:])
    largest = groups.topk(_GROUP // 2, dim=2).indices
    mask = torch.zeros_like(groups, dtype=torch.bool).scatter_(2, largest, value=True)
    return mask.flatten(1, 2)
