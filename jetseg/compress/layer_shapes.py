"""Reads off a torch network the shapes of its layers, as their latency is measured from."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from jetseg.onnx.layer_shape import LayerShape


def layer_shapes(module: nn.Module, example_input: Tensor) -> dict[str, tuple[LayerShape, ...]]:
    """Runs a network once and notes its convolutions and linear layers.

    Args:
        module: The network, in eval mode.
        example_input: float32, N x C x H x W.

    Returns:
        By the layer's name, one shape for each time that it ran; layers that did not run are absent.
    """
    names = {layer: name for name, layer in module.named_modules()}
    found: dict[str, tuple[LayerShape, ...]] = {}

    def note(layer: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> None:
        found[names[layer]] = (*found.get(names[layer], ()), _shape(layer, inputs[0]))

    layers = [layer for layer in module.modules() if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear))]
    hooks = [layer.register_forward_hook(note) for layer in layers]
    try:
        with torch.no_grad():
            module(example_input)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _shape(layer: nn.Module, values: Tensor) -> LayerShape:
    if not isinstance(layer, _ConvNd):  # a linear layer is a 1x1 convolution over as many positions
        positions = values[0].numel() // values.shape[-1]
        return LayerShape(values.shape[-1], int(layer.out_features), 1, positions)  # type: ignore[arg-type]
    reach = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
    padding = layer.padding
    if isinstance(padding, str):
        padding = tuple(value // 2 for value in reach) if padding == "same" else (0, 0)
    return LayerShape(
        layer.in_channels,
        layer.out_channels,
        values.shape[2],
        values.shape[3],
        kernel=_pair(layer.kernel_size),
        stride=_pair(layer.stride),
        padding=_pair(padding),
        dilation=_pair(layer.dilation),
        groups=layer.groups,
        transposed=isinstance(layer, _ConvTransposeNd),
    )


def _pair(values: tuple[int, ...]) -> tuple[int, int]:
    return values[0], values[1]
