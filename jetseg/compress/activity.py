"""How strong the inputs of convolutions are on frames."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

Batch = tuple[Tensor, Tensor]
"""Frames, float32, N x C x H x W, as the network takes them, and their labels, uint8, N x H x W."""


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
