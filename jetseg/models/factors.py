"""Convolutions that were replaced by a chain of smaller ones, and their way back from a checkpoint.

A factorized convolution is a `Factors` in the place of the convolution. Its parts follow from the convolution and
the shapes of the weights, so that a checkpoint needs to hold nothing but weights.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn


class Factors(nn.Sequential):
    """Two or three convolutions that stand for one; made by `spatial_factors` or `tucker_factors`."""


def spatial_factors(conv: nn.Conv2d, rank: int) -> Factors:
    """Returns a vertical and a horizontal convolution of `rank` channels between, in place of a k x k one.

    Strides, padding and dilation are those of `conv`; the weights are fresh.
    """
    (height, width), (top, left) = conv.kernel_size, _padding(conv)
    vertical = nn.Conv2d(
        conv.in_channels,
        rank,
        (height, 1),
        (conv.stride[0], 1),
        (top, 0),
        (conv.dilation[0], 1),
        bias=False,
    )
    horizontal = nn.Conv2d(
        rank,
        conv.out_channels,
        (1, width),
        (1, conv.stride[1]),
        (0, left),
        (1, conv.dilation[1]),
        bias=conv.bias is not None,
    )
    return Factors(vertical, horizontal)


def tucker_factors(conv: nn.Conv2d, in_rank: int, out_rank: int) -> Factors:
    """Returns a 1x1, a smaller k x k and a 1x1 convolution in place of a k x k one; the weights are fresh."""
    return Factors(
        nn.Conv2d(conv.in_channels, in_rank, 1, bias=False),
        nn.Conv2d(
            in_rank,
            out_rank,
            _pair(conv.kernel_size),
            _pair(conv.stride),
            _padding(conv),
            _pair(conv.dilation),
            bias=False,
        ),
        nn.Conv2d(out_rank, conv.out_channels, 1, bias=conv.bias is not None),
    )


def factorizable(layer: nn.Module) -> bool:
    """Tells whether a layer is a convolution that can be factorized: dense, and of more than one position."""
    return (
        isinstance(layer, nn.Conv2d)
        and layer.groups == 1
        and layer.padding_mode == "zeros"
        and not isinstance(layer.padding, str)
        and max(layer.kernel_size) > 1
    )


def restore_factors_(module: nn.Module, state_dict: Mapping[str, Tensor]) -> None:
    """Replaces the convolutions of `module` of which `state_dict` holds factors instead; weights stay fresh."""
    for name, layer in list(module.named_modules()):
        parts = 0
        while f"{name}.{parts}.weight" in state_dict:
            parts += 1
        if f"{name}.weight" in state_dict or not isinstance(layer, nn.Conv2d) or not factorizable(layer):
            continue
        first = state_dict.get(f"{name}.0.weight")
        if first is not None and parts == 2:
            replace_layer_(module, name, spatial_factors(layer, first.shape[0]))
        elif first is not None and parts == 3:
            replace_layer_(module, name, tucker_factors(layer, *state_dict[f"{name}.1.weight"].shape[1::-1]))


def replace_layer_(module: nn.Module, name: str, layer: nn.Module) -> None:
    """Puts `layer` in the place of the submodule with that name."""
    parent, _, own = name.rpartition(".")
    setattr(module.get_submodule(parent), own, layer)


def _padding(conv: nn.Conv2d) -> tuple[int, int]:
    if isinstance(conv.padding, str):  # `factorizable` refuses these
        raise TypeError(conv.padding)
    return _pair(conv.padding)


def _pair(values: tuple[int, ...]) -> tuple[int, int]:
    return values[0], values[1]
