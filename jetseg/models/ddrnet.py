"""DDRNet-23-slim (Hong et al., arXiv:2101.06085): a fine and a coarse branch that exchange features twice."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from jetseg.models.layers import ConvBN, ConvBNReLU, ResidualBlock, initialize_, pool_to_bins, resize_like


class DDRNet(nn.Module):
    """DDRNet-23-slim, 5.7 M parameters.

    Convolutions come before batch norm and ReLU everywhere, also in the pooling module and the heads, where
    the authors put them after: so every batch norm folds into a convolution, which int8 needs. Any input size
    works; multiples of 64 waste nothing.

    Args:
        num_classes: Channels of the logits.
        in_channels: Channels of the input.
        width: Channels of the stem; the slim network of the paper has 32.
        auxiliary: Adds a second head on the fine branch, which runs in training only.
    """

    def __init__(self, num_classes: int, in_channels: int = 3, width: int = 32, auxiliary: bool = True) -> None:
        super().__init__()
        fine, pooled = 2 * width, 4 * width
        self.stem = nn.Sequential(
            ConvBNReLU(in_channels, width, 3, 2),
            ConvBNReLU(width, width, 3, 2),
            _stage(width, width, 1),
            nn.ReLU(),
            _stage(width, fine, 2),
            nn.ReLU(),
        )
        self.exchange1 = _Exchange(fine, 2 * fine, fine, down_steps=1)
        self.exchange2 = _Exchange(2 * fine, 4 * fine, fine, down_steps=2)
        self.fine_end = _Bottleneck(fine, fine, 2 * fine, 1)
        self.coarse_end = _Bottleneck(4 * fine, 4 * fine, 8 * fine, 2)
        self.pooling = _DeepPooling(8 * fine, pooled, 2 * fine)
        self.head = _head(2 * fine, fine, num_classes)
        self.auxiliary = _head(fine, fine, num_classes) if auxiliary else None
        initialize_(self)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Returns logits, N x num_classes x H x W; in training a pair with the auxiliary head's logits."""
        shared = self.stem(x)
        fine, coarse = self.exchange1(shared, shared)
        between = fine
        fine, coarse = self.exchange2(F.relu(fine), F.relu(coarse))
        fine = self.fine_end(F.relu(fine))
        context = self.pooling(self.coarse_end(F.relu(coarse)))
        logits = resize_like(self.head(F.relu(fine + resize_like(context, fine))), x)
        if self.training and self.auxiliary is not None:
            return logits, resize_like(self.auxiliary(F.relu(between)), x)
        return logits


class _Exchange(nn.Module):
    """One stage of both branches, then each adds the other's features. Results are before ReLU."""

    def __init__(self, in_coarse: int, coarse: int, fine: int, down_steps: int) -> None:
        super().__init__()
        self.coarse = _stage(in_coarse, coarse, 2)
        self.fine = _stage(fine, fine, 1)
        self.up = ConvBN(coarse, fine, 1)
        middle = [ConvBNReLU(fine, coarse // 2, 3, 2)] if down_steps == 2 else []
        self.down = nn.Sequential(*middle, ConvBN(coarse // 2 if middle else fine, coarse, 3, 2))

    def forward(self, fine: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
        coarse = self.coarse(coarse)
        fine = self.fine(fine)
        raised = fine + resize_like(self.up(F.relu(coarse)), fine)
        lowered = coarse + self.down(F.relu(fine))
        return raised, lowered


class _Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions around a projected shortcut; the result is before ReLU."""

    def __init__(self, in_channels: int, middle: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            ConvBNReLU(in_channels, middle, 1),
            ConvBNReLU(middle, middle, 3, stride),
            ConvBN(middle, out_channels, 1),
        )
        self.shortcut = ConvBN(in_channels, out_channels, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x) + self.shortcut(x)
        return out


class _DeepPooling(nn.Module):
    """Deep aggregation pyramid pooling (DAPPM): each wider context is added to the narrower one."""

    windows = ((5, 2), (9, 4), (17, 8))
    """Kernel and stride of the local pools; a global one follows."""

    def __init__(self, in_channels: int, middle: int, out_channels: int) -> None:
        super().__init__()
        count = len(self.windows) + 1
        self.local = ConvBNReLU(in_channels, middle, 1)
        self.scales = nn.ModuleList(ConvBNReLU(in_channels, middle, 1) for _ in range(count))
        self.merges = nn.ModuleList(ConvBNReLU(middle, middle) for _ in range(count))
        self.compress = ConvBN(middle * (count + 1), out_channels, 1)
        self.shortcut = ConvBN(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        pools = [F.avg_pool2d(x, kernel, stride, kernel // 2) for kernel, stride in self.windows]
        pools.append(pool_to_bins(x, 1))
        contexts = [self.local(x)]
        for pool, scale, merge in zip(pools, self.scales, self.merges, strict=True):
            contexts.append(merge(resize_like(scale(pool), x) + contexts[-1]))
        out: Tensor = self.compress(torch.cat(contexts, dim=1)) + self.shortcut(x)
        return out


def _stage(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    """Two residual blocks; the result is before ReLU."""
    return nn.Sequential(
        ResidualBlock(in_channels, out_channels, stride),
        ResidualBlock(out_channels, out_channels, final_relu=False),
    )


def _head(in_channels: int, middle: int, num_classes: int) -> nn.Sequential:
    return nn.Sequential(ConvBNReLU(in_channels, middle), nn.Conv2d(middle, num_classes, 1))
