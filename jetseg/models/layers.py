"""Building blocks that several networks share."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ConvBN(nn.Sequential):
    """Convolution and batch norm, which fold into one convolution when exported.

    Args:
        in_channels: Channels that come in.
        out_channels: Channels that go out.
        kernel_size: Side of the square kernel; the padding keeps the size at stride 1.
        stride: Stride in both directions.
        groups: Groups of the convolution; equal to both channel counts for a depthwise one.
        dilation: Dilation in both directions.
    """

    eps: ClassVar[float] = 1e-5
    activation: ClassVar[type[nn.ReLU | nn.ReLU6] | None] = None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        *,
        groups: int = 1,
        dilation: int = 1,
    ) -> None:
        padding = dilation * (kernel_size // 2)
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias=False),
            nn.BatchNorm2d(out_channels, eps=self.eps),
        )
        if self.activation is not None:
            self.append(self.activation(inplace=True))


class ConvBNReLU(ConvBN):
    """Convolution, batch norm and ReLU; the arguments are those of `ConvBN`."""

    activation = nn.ReLU


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut (He et al., arXiv:1512.03385).

    Args:
        in_channels: Channels that come in.
        out_channels: Channels that go out.
        stride: Stride of the first convolution; the shortcut is projected where shapes change.
        final_relu: Ends with a ReLU, else with the bare sum.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, *, final_relu: bool = True) -> None:
        super().__init__()
        self.conv1 = ConvBNReLU(in_channels, out_channels, 3, stride)
        self.conv2 = ConvBN(out_channels, out_channels)
        changes = stride != 1 or in_channels != out_channels
        self.shortcut = ConvBN(in_channels, out_channels, 1, stride) if changes else nn.Identity()
        self.relu = nn.ReLU(inplace=True) if final_relu else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Returns N x out_channels x H/stride x W/stride."""
        out: Tensor = self.relu(self.conv2(self.conv1(x)) + self.shortcut(x))
        return out


def two_channels(logits: Tensor) -> Tensor:
    """Returns scores with a channel per class where one channel tells two classes apart; others as they are.

    sigmoid(x) = softmax((0, x))[1], so that cross-entropy of the two is binary cross-entropy of the one.

    Args:
        logits: N x C x H x W.

    >>> import torch
    >>> two_channels(torch.full((1, 1, 1, 1), 3.0)).flatten().tolist()
    [0.0, 3.0]
    """
    return torch.cat([torch.zeros_like(logits), logits], dim=1) if logits.shape[1] == 1 else logits


def resize_like(x: Tensor, reference: Tensor) -> Tensor:
    """Resizes a feature map bilinearly to the last two axes of another tensor; does nothing if it has that size."""
    size = (reference.shape[-2], reference.shape[-1])
    if (x.shape[-2], x.shape[-1]) == size:
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def pool_to_bins(x: Tensor, bins: int) -> Tensor:
    """Averages a feature map into bins x bins cells, by one average pool with a fixed kernel.

    Equals adaptive average pooling where the sizes divide evenly. Elsewhere cells overlap a little more, and
    the exported graph still holds a single AveragePool node, where adaptive pooling would export as dozens of
    slices. A map with fewer rows or columns than bins gives as many cells as it has.

    Args:
        x: Feature map, N x C x H x W.
        bins: Cells in each direction.

    Returns:
        N x C x min(bins, H) x min(bins, W).

    >>> import torch
    >>> pool_to_bins(torch.arange(5.0).reshape(1, 1, 1, 5), 2).tolist()
    [[[[1.0, 3.0]]]]
    """
    rows, row_stride = _window(x.shape[2], bins)
    columns, column_stride = _window(x.shape[3], bins)
    return F.avg_pool2d(x, (rows, columns), (row_stride, column_stride))


def _window(length: int, bins: int) -> tuple[int, int]:
    """Returns kernel and stride that cover `length` with exactly `bins` windows."""
    bins = min(bins, length)
    stride = length // bins
    return length - (bins - 1) * stride, stride


def scaled(channels: int, width: float, multiple: int = 8) -> int:
    """Scales a channel count and rounds it to a multiple that accelerators like, at least one.

    >>> scaled(48, 0.5), scaled(8, 0.1)
    (24, 8)
    """
    return max(multiple, round(channels * width / multiple) * multiple)


def initialize_(module: nn.Module) -> None:
    """Fills convolutions with Kaiming-normal weights for ReLU (He et al., arXiv:1502.01852)."""
    fill: Callable[..., Tensor] = nn.init.kaiming_normal_
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            fill(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
