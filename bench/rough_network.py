"""Small networks that are hard to quantize: branches of dilated depthwise convolutions, added and joined as in ESPNet.

`rough`: each channel of each branch has a range of its own, spread over three decades. As branches are added, no factor
per channel brings the ranges together, and one scale for all drowns the small ones. `heavy`: what the branches read is
squared, so that its tail is heavy, and one scale either cuts it or drowns the rest.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DILATIONS = (1, 2, 4, 8)


class RoughNetwork(nn.Module):
    """Logits at the input's size, from features at a quarter of it."""

    def __init__(self, num_classes: int, in_channels: int, width: int, blocks: int, decades: float, power: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(_convolution(in_channels, width // 2), _convolution(width // 2, width))
        self.blocks = nn.Sequential(*(Branches(width, decades, power) for _ in range(blocks)))
        self.classifier = nn.Conv2d(width, num_classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Returns logits, N x num_classes x H x W."""
        logits = self.classifier(self.blocks(self.stem(image)))
        return F.interpolate(logits, size=image.shape[2:], mode="bilinear", align_corners=False)


class Branches(nn.Module):
    """Depthwise convolutions of several dilations, added up one after the other, joined and mixed."""

    def __init__(self, width: int, decades: float, power: int) -> None:
        super().__init__()
        self.power = power
        inner = width // 2
        self.reduce = nn.Conv2d(width, inner, 1)
        self.branches = nn.ModuleList(
            nn.Conv2d(inner, inner, 3, padding=step, dilation=step, groups=inner, bias=False) for step in DILATIONS
        )
        self.mix = nn.Conv2d(inner * len(DILATIONS), width, 1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self._spread(decades)

    def forward(self, x: Tensor) -> Tensor:
        """Returns features of the same shape."""
        small = F.relu(self.reduce(x)) ** self.power
        sums: list[Tensor] = []
        for branch in self.branches:
            made = branch(small)
            sums.append(sums[-1] + made if sums else made)
        return F.relu(x + self.norm(self.mix(torch.cat(sums, 1))))

    def _spread(self, decades: float) -> None:
        """Multiplies each channel of each branch, and divides what reads it by the largest factor in its sum."""
        inner = self.reduce.out_channels
        factors = 10 ** (decades * (torch.rand(len(DILATIONS), inner) - 0.5))
        with torch.no_grad():
            for branch, factor in zip(self.branches, factors, strict=True):
                branch.weight.mul_(factor[:, None, None, None])
            self.mix.weight.div_(factors.cummax(0).values.flatten()[None, :, None, None])


def rough(num_classes: int, in_channels: int = 3, width: int = 32, blocks: int = 4) -> nn.Module:
    """Builds the network of far ranges, as `jetseg train --model rough_network:rough` does."""
    return RoughNetwork(num_classes, in_channels, width, blocks, decades=3.0, power=1)


def heavy(num_classes: int, in_channels: int = 3, width: int = 24, blocks: int = 3) -> nn.Module:
    """Builds the network of heavy tails, as `jetseg train --model rough_network:heavy` does."""
    return RoughNetwork(num_classes, in_channels, width, blocks, decades=0.0, power=2)


def _convolution(channels: int, made: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(channels, made, 3, 2, 1, bias=False), nn.BatchNorm2d(made), nn.ReLU(inplace=True))
