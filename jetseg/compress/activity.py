"""How strong the inputs of convolutions are on frames."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

Batch = tuple[Tensor, Tensor]
"""Frames, float32, N x C x H x W, as the network takes them, and their labels, uint8, N x H x W."""


def input_activity(module: nn.Module, batches: Iterable[Batch]) -> dict[str, Tensor]:
    """Measures how strong the inputs of the convolutions are.

    Args:
        module: The network, in eval mode.
        batches: Frames; their labels are not used.

    Returns:
        By the convolution's name, the mean absolute value of each input channel, in the shape of one filter of its
        weight: what each weight is multiplied with on average.
    """
    convolutions = {name: layer for name, layer in module.named_modules() if isinstance(layer, _ConvNd)}
    activity = channel_activity(module, convolutions.values(), batches)
    return {name: _by_weight(layer, activity[layer]) for name, layer in convolutions.items() if layer in activity}


def channel_activity(
    module: nn.Module, layers: Iterable[nn.Module], batches: Iterable[Batch]
) -> dict[nn.Module, Tensor]:
    """Returns the mean absolute value of each input channel of convolutions and linear layers, for those that ran."""
    seen: dict[nn.Module, list[Tensor]] = {}

    def measure(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        values = inputs[0].abs()
        axis = 1 if isinstance(layer, _ConvNd) else values.ndim - 1
        seen.setdefault(layer, []).append(values.mean(dim=[i for i in range(values.ndim) if i != axis]))

    with ExitStack() as hooks, torch.no_grad():
        for layer in layers:
            hooks.enter_context(layer.register_forward_pre_hook(measure))
        for images, _ in batches:
            module(images)
    return {layer: torch.stack(means).mean(0) for layer, means in seen.items()}


def _by_weight(layer: _ConvNd, by_channel: Tensor) -> Tensor:
    """Spreads one number for each input channel over the weights that read the channel."""
    spatial = (1,) * len(layer.kernel_size)
    if isinstance(layer, _ConvTransposeNd):
        return by_channel.reshape(-1, 1, *spatial).expand_as(layer.weight)
    groups = by_channel.reshape(layer.groups, 1, -1, *spatial)
    shape = (layer.groups, layer.out_channels // layer.groups, groups.shape[2], *layer.kernel_size)
    return groups.expand(shape).reshape(layer.weight.shape)
