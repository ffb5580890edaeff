"""Layers of a torch network by name: which ones are meant, their channels and shapes, and what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from jetseg.errors import ConfigError
from jetseg.onnx.layer_shape import LayerShape

LAYERS = (_ConvNd, nn.Linear, nn.MultiheadAttention)
"""Layers whose output channels are counted."""


@dataclass(frozen=True)
class LayerChange:
    """One row of the table that pruning prints.

    Attributes:
        name: Name of the layer in the module.
        before: Output channels before (structured), or weights (unstructured).
        after: Output channels after (structured), or weights that are not zero (unstructured).
        note: Why a layer was kept or has an uneven number of channels; empty otherwise.
        removed: Output channels that are gone (structured), numbered as before.
    """

    name: str
    before: int
    after: int
    note: str = ""
    removed: tuple[int, ...] = ()


def join_removals(channels: int, first: Sequence[int], second: Sequence[int]) -> tuple[int, ...]:
    """Returns what two removals took together, numbered as before the first one.

    Args:
        channels: How many there were after the first one.
        first: What it took.
        second: What the second one took of the rest, numbered as after the first.

    >>> join_removals(3, (1, 2), (0, 2))
    (0, 1, 2, 4)
    """
    gone = set(first)
    left = [channel for channel in range(channels + len(gone)) if channel not in gone]
    return tuple(sorted(gone | {left[channel] for channel in second}))


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


def channel_counts(module: nn.Module) -> dict[str, int]:
    """Returns the output channels of each layer, by name; of an attention, those of query, key and value together."""
    counts = {}
    for name, layer in module.named_modules():
        if isinstance(layer, _ConvNd):
            counts[name] = layer.out_channels
        elif isinstance(layer, nn.Linear):
            counts[name] = layer.out_features
        elif isinstance(layer, nn.MultiheadAttention) and layer.in_proj_weight is not None:
            counts[name] = len(layer.in_proj_weight)
    return counts


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
    with ExitStack() as hooks, torch.no_grad():
        for layer in layers:
            hooks.enter_context(layer.register_forward_hook(note))
        module(example_input)
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
