"""A small encoder-decoder for demonstrations, tests and very small devices."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from jetseg.models.layers import ConvBN, ConvBNReLU, ResidualBlock, initialize_, resize_like


class TinyEncoder(nn.Module):
    """Strides 2, 4, 8 and 16 from plain 3x3 convolutions.

    Args:
        in_channels: Channels of the input.
        width: Channels at half resolution; deeper stages have 2 and 4 times as many.
    """

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        self.stem = ConvBNReLU(in_channels, width, 3, 2)
        self.stage4 = nn.Sequential(ConvBNReLU(width, 2 * width, 3, 2), ConvBNReLU(2 * width, 2 * width))
        self.stage8 = nn.Sequential(ConvBNReLU(2 * width, 4 * width, 3, 2), ResidualBlock(4 * width, 4 * width))
        self.stage16 = nn.Sequential(
            ConvBNReLU(4 * width, 4 * width, 3, 2),
            ResidualBlock(4 * width, 4 * width),
            ResidualBlock(4 * width, 4 * width),
        )

    def features(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Returns feature maps at strides 2, 4, 8 and 16."""
        half = self.stem(x)
        quarter = self.stage4(half)
        eighth = self.stage8(quarter)
        return half, quarter, eighth, self.stage16(eighth)


def add_pyramid_(module: nn.Module, width: int) -> None:
    """Gives a module the layers that `merge_scales` runs.

    Args:
        module: Gets them as attributes.
        width: Of the encoder.
    """
    module.top = ConvBN(4 * width, 2 * width, 1)
    module.lateral8 = ConvBN(4 * width, 2 * width, 1)
    module.lateral4 = ConvBN(2 * width, 2 * width, 1)
    module.reduce = ConvBN(2 * width, width, 1)
    module.relu = nn.ReLU()


def merge_scales(layers: Any, features: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:  # noqa: ANN401 - has attributes
    """Adds the scales from coarse to fine; returns as many channels at half resolution as the encoder is wide.

    Args:
        layers: A module that went through `add_pyramid_`.
        features: Of `TinyEncoder.features`.
    """
    half, quarter, eighth, sixteenth = features
    merged = layers.top(sixteenth)
    merged = layers.relu(resize_like(merged, eighth) + layers.lateral8(eighth))
    merged = layers.relu(resize_like(merged, quarter) + layers.lateral4(quarter))
    finest: Tensor = layers.relu(resize_like(layers.reduce(merged), half) + half)
    return finest


class Tiny(TinyEncoder):
    """Predicts at half resolution, so that poles and signs survive, from plain 3x3 convolutions.

    The encoder has strides 2, 4, 8 and 16; the decoder adds the scales from coarse to fine as a feature
    pyramid does (Lin et al., arXiv:1612.03144). There are no depthwise convolutions: they are slow on a CPU,
    in training and in int8.

    Args:
        num_classes: Channels of the logits.
        in_channels: Channels of the input.
        width: Channels at half resolution; deeper stages have 2 and 4 times as many. 16 costs 0.23 GMAC at
            320x192; 8 makes a student, 32 a teacher.
    """

    def __init__(self, num_classes: int, in_channels: int = 3, width: int = 16) -> None:
        super().__init__(in_channels, width)
        add_pyramid_(self, width)
        self.refine = ConvBNReLU(width, width)
        self.classifier = nn.Conv2d(width, num_classes, 1)
        initialize_(self)

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits, N x num_classes x H x W, for an input N x in_channels x H x W of any size."""
        merged = merge_scales(self, self.features(x))
        return resize_like(self.classifier(self.refine(merged)), x)
