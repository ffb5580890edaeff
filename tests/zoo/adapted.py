"""The same factories with one tensor of logits at the input's size as output, as `zoo.adapted:NAME`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from zoo import networks
from zoo.heads import upsampled


class Logits(nn.Module):
    """Takes the main logits out of what a network returns, and brings them to the input's size."""

    def __init__(self, network: nn.Module, index: int) -> None:
        super().__init__()
        self.network = network
        self.index = index

    def forward(self, image: Tensor) -> Tensor:
        found = self.network(image)
        if isinstance(found, dict):
            found = found["logits" if "logits" in found else "out"]
        elif isinstance(found, (list, tuple)):
            found = found[self.index]
        return found if found.shape[2:] == image.shape[2:] else upsampled(found, image.shape[2:])


def main_output(name: str) -> int:
    """Returns the place of the logits in what a network returns, where that is a list or a tuple."""
    return 1 if name == "pidnet_s" else 0


def __getattr__(name: str) -> Callable[..., nn.Module]:
    factory = getattr(networks, name)

    def build(num_classes: int, in_channels: int = 3, **options: Any) -> nn.Module:
        return Logits(factory(num_classes, in_channels, **options), main_output(name))

    return build
