"""EfficientNet-Lite encoders with a light feature pyramid: strong networks that start from ImageNet weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Literal, cast

import torch
from torch import Tensor, nn

from jetseg.models.layers import ConvBN, initialize_, pool_to_bins, resize_like

Variant = Literal["lite0", "lite1", "lite2"]
SCALES: dict[str, tuple[float, float]] = {"lite0": (1.0, 1.0), "lite1": (1.0, 1.1), "lite2": (1.1, 1.2)}
"""Factors of width and depth of each variant."""
# repeats, kernel, stride, expansion, channels of each stage
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_PYRAMID_STAGES = (1, 2, 4)
"""The last stages at strides 4, 8 and 16; the deepest stage joins them at stride 32."""


class EfficientNetLiteFPN(nn.Module):
    """EfficientNet-Lite with a feature pyramid whose logits have a quarter of the input's sides.

    The encoder is EfficientNet (Tan and Le, arXiv:1905.11946) in its Lite form: ReLU6, no squeeze-and-excite,
    stem of fixed width, so that it quantizes well. The decoder is a feature pyramid (Lin et al.,
    arXiv:1612.03144) of 1x1 convolutions and depthwise separable ones; pooled context (arXiv:1612.01105) joins
    at stride 32. `jetseg.models.imagenet` loads its weights.

    Args:
        num_classes: Channels of the logits.
        in_channels: Channels of the input.
        variant: Size of the encoder.
        deep_blocks: Blocks at stride 32 to keep, counted over the last two stages; all by default. Few of them
            make a network with few parameters: most of the encoder's lie there.
        width: Channels of the pyramid.
        dropout: Probability of dropping a channel before the classifier, in training.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        variant: Variant = "lite0",
        deep_blocks: int | None = None,
        width: int = 96,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if variant not in SCALES:
            raise ValueError(f"variant {variant!r} is none of {', '.join(SCALES)}")
        self.encoder = _Encoder(in_channels, variant, deep_blocks)
        *fine, deepest = self.encoder.out_channels
        self.context = _Context(deepest, width)
        self.laterals = nn.ModuleList(_ConvBN(channels, width, 1) for channels in fine)
        self.smooth = nn.ModuleList(_separable(width, width) for _ in fine)
        self.head = nn.Sequential(_separable(width, width), nn.Dropout2d(dropout))
        self.classifier = nn.Conv2d(width, num_classes, 1)
        initialize_(self)

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits, N x num_classes x H x W, for an input N x in_channels x H x W of any size."""
        *fine, deepest = self.encoder(x)
        features: Tensor = self.context(deepest)
        for lateral, smooth, skip in zip(reversed(self.laterals), reversed(self.smooth), reversed(fine), strict=True):
            features = smooth(lateral(skip) + resize_like(features, skip))
        return resize_like(self.classifier(self.head(features)), x)


class _ConvBN(ConvBN):
    """Convolution and batch norm with the encoder's epsilon."""

    eps = 1e-3


class _ConvBNReLU6(_ConvBN):
    """The same with ReLU6."""

    activation = nn.ReLU6


class _Encoder(nn.Module):
    """The stages of EfficientNet-Lite; gives feature maps at strides 4, 8, 16 and 32."""

    def __init__(self, in_channels: int, variant: str, deep_blocks: int | None) -> None:
        super().__init__()
        width, depth = SCALES[variant]
        self.stem = _ConvBNReLU6(in_channels, 32, 3, stride=2)
        self.stages = nn.ModuleList()
        self.variant = variant
        self._lengths: list[int] = []
        channels, left = 32, deep_blocks
        for index, (repeats, kernel, stride, expansion, base) in enumerate(_STAGES):
            # the first and the last stage are never deepened
            count = repeats if index in (0, len(_STAGES) - 1) else math.ceil(repeats * depth)
            self._lengths.append(count)
            if index >= len(_STAGES) - 2 and left is not None:
                count = min(count, left)
                left -= count
            if count == 0:
                break
            out = _round_to_8(base * width)
            blocks = [_Block(channels, out, kernel, stride, expansion)]
            blocks += [_Block(out, out, kernel, 1, expansion) for _ in range(count - 1)]
            self.stages.append(nn.Sequential(*blocks))
            channels = out
        if len(self.stages) <= _PYRAMID_STAGES[-1] + 1:
            raise ValueError("deep_blocks must be 1 or more")
        fine = [_round_to_8(_STAGES[index][-1] * width) for index in _PYRAMID_STAGES]
        self.out_channels = (*fine, channels)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.stem(x)
        features = []
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index in _PYRAMID_STAGES:
                features.append(x)
        return [*features, x]

    def numbered_blocks(self) -> Iterator[tuple[int, _Block]]:
        """Yields each block with its number in the whole encoder, which counts blocks that were left out."""
        first = 0
        for stage, length in zip(self.stages, self._lengths, strict=False):
            yield from enumerate(cast("Iterable[_Block]", stage), first)
            first += length


class _Block(nn.Module):
    """Inverted residual (arXiv:1801.04381): expand, depthwise, project; named parts hold the ImageNet weights."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = in_channels * expansion
        self.expand = _ConvBNReLU6(in_channels, wide, 1) if expansion > 1 else nn.Identity()
        self.depthwise = _ConvBNReLU6(wide, wide, kernel, stride=stride, groups=wide)
        self.project = _ConvBN(wide, out_channels, 1)
        self.adds_input = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + out if self.adds_input else out


class _Context(nn.Module):
    """Joins the deepest features with averages over the whole frame and over 3 x 3 parts of it."""

    bins = (1, 3)

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.reduce = _ConvBNReLU6(in_channels, out_channels, 1)
        self.branches = nn.ModuleList(_ConvBNReLU6(out_channels, out_channels, 1) for _ in self.bins)
        self.merge = _ConvBNReLU6(out_channels * (1 + len(self.bins)), out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.reduce(x)
        pooled = [
            resize_like(branch(pool_to_bins(x, bins)), x) for branch, bins in zip(self.branches, self.bins, strict=True)
        ]
        out: Tensor = self.merge(torch.cat([x, *pooled], dim=1))
        return out


def _separable(in_channels: int, out_channels: int) -> nn.Sequential:
    """Depthwise, then pointwise convolution."""
    return nn.Sequential(
        _ConvBNReLU6(in_channels, in_channels, 3, groups=in_channels), _ConvBNReLU6(in_channels, out_channels, 1)
    )


def _round_to_8(channels: float) -> int:
    """Rounds to a multiple of 8 that is at least 0.9 of the value, as the paper's code family does."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8
