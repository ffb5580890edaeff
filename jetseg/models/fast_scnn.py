"""Fast-SCNN (Poudel et al., arXiv:1902.04502): a shallow branch at 1/8, a deep one at 1/32, fused at 1/8."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from jetseg.models.layers import ConvBN, ConvBNReLU, initialize_, pool_to_bins, resize_like, scaled


class FastSCNN(nn.Module):
    """Fast-SCNN, 1.1 M parameters for 19 classes.

    The pyramid pooling uses average pools with fixed kernels, computed from the feature map's size when the
    network runs or is exported; see `pool_to_bins`. Any input size works; multiples of 32 waste nothing.

    Args:
        num_classes: Channels of the logits.
        in_channels: Channels of the input.
        width: Scales all channel counts; results are rounded to multiples of 8.
        dropout: Probability of dropping a channel before the classifier, in training.
    """

    def __init__(self, num_classes: int, in_channels: int = 3, width: float = 1.0, dropout: float = 0.1) -> None:
        super().__init__()
        c32, c48, c64, c96, c128 = (scaled(channels, width) for channels in (32, 48, 64, 96, 128))
        self.downsample = nn.Sequential(
            ConvBNReLU(in_channels, c32, 3, 2), _separable(c32, c48, 2), _separable(c48, c64, 2)
        )
        self.features = nn.Sequential(
            *_bottlenecks(c64, c64, 2), *_bottlenecks(c64, c96, 2), *_bottlenecks(c96, c128, 1)
        )
        self.pyramid = _PyramidPooling(c128)
        self.fusion = _FeatureFusion(c64, c128)
        self.head = nn.Sequential(_separable(c128, c128), _separable(c128, c128), nn.Dropout2d(dropout))
        self.classifier = nn.Conv2d(c128, num_classes, 1)
        initialize_(self)

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits, N x num_classes x H x W, for an input N x in_channels x H x W."""
        fine = self.downsample(x)
        coarse = self.pyramid(self.features(fine))
        logits = self.classifier(self.head(self.fusion(fine, coarse)))
        return resize_like(logits, x)


class _Bottleneck(nn.Module):
    """Inverted residual with expansion 6 (Sandler et al., arXiv:1801.04381)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        wide = 6 * in_channels
        self.layers = nn.Sequential(
            ConvBNReLU(in_channels, wide, 1),
            ConvBNReLU(wide, wide, 3, stride, groups=wide),
            ConvBN(wide, out_channels, 1),
        )
        self.adds_input = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return x + out if self.adds_input else out


class _PyramidPooling(nn.Module):
    """Adds context from 1, 2, 3 and 6 bins across the map (Zhao et al., arXiv:1612.01105)."""

    bins = (1, 2, 3, 6)

    def __init__(self, channels: int) -> None:
        super().__init__()
        quarter = channels // len(self.bins)
        self.branches = nn.ModuleList(ConvBNReLU(channels, quarter, 1) for _ in self.bins)
        self.merge = ConvBNReLU(channels + quarter * len(self.bins), channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = [
            resize_like(branch(pool_to_bins(x, bins)), x) for branch, bins in zip(self.branches, self.bins, strict=True)
        ]
        out: Tensor = self.merge(torch.cat([x, *pooled], dim=1))
        return out


class _FeatureFusion(nn.Module):
    """Adds the coarse branch, enlarged and smoothed, to the fine one."""

    def __init__(self, fine_channels: int, channels: int) -> None:
        super().__init__()
        # The paper dilates this depthwise convolution by the factor between the branches.
        self.smooth = ConvBNReLU(channels, channels, 3, groups=channels, dilation=4)
        self.coarse = ConvBN(channels, channels, 1)
        self.fine = ConvBN(fine_channels, channels, 1)
        self.relu = nn.ReLU()

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        enlarged = self.coarse(self.smooth(resize_like(coarse, fine)))
        out: Tensor = self.relu(self.fine(fine) + enlarged)
        return out


def _separable(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    """Depthwise, then pointwise convolution."""
    return nn.Sequential(
        ConvBNReLU(in_channels, in_channels, 3, stride, groups=in_channels),
        ConvBNReLU(in_channels, out_channels, 1),
    )


def _bottlenecks(in_channels: int, out_channels: int, stride: int) -> list[nn.Module]:
    first = _Bottleneck(in_channels, out_channels, stride)
    return [first, *(_Bottleneck(out_channels, out_channels, 1) for _ in range(2))]
