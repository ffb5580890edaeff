"""U-Net (Ronneberger et al., arXiv:1505.04597) with batch norm, for medical and general images."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from jetseg.models.layers import ConvBNReLU, initialize_, resize_like


class UNet(nn.Module):
    """U-Net whose convolutions keep the size, so that the logits have the size of the input.

    Args:
        num_classes: Channels of the logits.
        in_channels: Channels of the input; 1 for grey images.
        width: Channels of the first level; each level below has twice as many. The paper's network has 64.
        depth: Number of times that the size is halved.
        upsampling: "bilinear" resizes, then convolves 1x1; "transposed" learns a 2x2 transposed convolution.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        width: int = 32,
        depth: int = 4,
        upsampling: Literal["bilinear", "transposed"] = "bilinear",
    ) -> None:
        super().__init__()
        channels = [width * 2**level for level in range(depth + 1)]
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        self.encoder = nn.ModuleList()
        for wide in channels:
            self.encoder.append(_double_conv(in_channels, wide))
            in_channels = wide
        self.decoder = nn.ModuleList(
            _UpLevel(channels[level + 1], channels[level], upsampling) for level in reversed(range(depth))
        )
        self.classifier = nn.Conv2d(width, num_classes, 1)
        initialize_(self)

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits, N x num_classes x H x W, for an input N x in_channels x H x W of any size."""
        skips: list[Tensor] = []
        for level, block in enumerate(self.encoder):
            x = block(x if level == 0 else self.pool(x))
            skips.append(x)
        x = skips.pop()
        for up in self.decoder:
            x = up(x, skips.pop())
        logits: Tensor = self.classifier(x)
        return logits


class _UpLevel(nn.Module):
    """Enlarges the lower level's features, joins the skip connection and convolves twice."""

    def __init__(self, in_channels: int, out_channels: int, upsampling: str) -> None:
        super().__init__()
        self.up: nn.Module
        if upsampling == "transposed":
            self.up = nn.ConvTranspose2d(in_channels, out_channels, 2, 2)
        else:
            self.up = nn.Conv2d(in_channels, out_channels, 1)
        self.convs = _double_conv(2 * out_channels, out_channels)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        # reducing channels before a resize gives the same values as after it, at a quarter of the cost
        joined = torch.cat([skip, resize_like(self.up(x), skip)], dim=1)
        out: Tensor = self.convs(joined)
        return out


def _double_conv(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(ConvBNReLU(in_channels, out_channels), ConvBNReLU(out_channels, out_channels))
