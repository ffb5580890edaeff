"""The features inside a network: what goes into one of its layers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from jetseg.errors import ConfigError


@contextmanager
def features_into(network: nn.Module, layer: str) -> Iterator[list[Tensor]]:
    """Gives a list that gets the input of a layer each time the network runs."""
    seen: list[Tensor] = []

    def keep(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append(inputs[0])

    with network.get_submodule(layer).register_forward_pre_hook(keep):
        yield seen


def feature_channels(network: nn.Module, layer: str, whose: str) -> int:
    """Returns how many channels go into a convolution.

    Args:
        network: Holds the layer.
        layer: Name of the layer.
        whose: "student" or "teacher", for the message.

    Raises:
        ConfigError: There is no such layer, or it is not a convolution.
    """
    found = dict(network.named_modules()).get(layer)
    if not isinstance(found, nn.Conv2d):
        convolutions = [name for name, module in network.named_modules() if isinstance(module, nn.Conv2d)]
        raise ConfigError(
            f"The {whose} has no convolution named {layer!r}, in front of which features could be taken.",
            f"Set distill.{whose}_layer to one of its convolutions, as in {convolutions[-1]!r}.",
        )
    return found.in_channels
