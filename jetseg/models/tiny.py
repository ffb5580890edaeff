"""A small encoder-decoder for demonstrations, tests and very small devices."""

from __future__ import annotations

from torch import Tensor, nn

from jetseg.models.layers import ConvBN, ConvBNReLU, ResidualBlock, initialize_, resize_like


class Tiny(nn.Module):
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
        super().__init__()
        self.stem = ConvBNReLU(in_channels, width, 3, 2)
        self.stage4 = nn.Sequential(ConvBNReLU(width, 2 * width, 3, 2), ConvBNReLU(2 * width, 2 * width))
        self.stage8 = nn.Sequential(ConvBNReLU(2 * width, 4 * width, 3, 2), ResidualBlock(4 * width, 4 * width))
        self.stage16 = nn.Sequential(
            ConvBNReLU(4 * width, 4 * width, 3, 2),
            ResidualBlock(4 * width, 4 * width),
            ResidualBlock(4 * width, 4 * width),
        )
        self.top = ConvBN(4 * width, 2 * width, 1)
        self.lateral8 = ConvBN(4 * width, 2 * width, 1)
        self.lateral4 = ConvBN(2 * width, 2 * width, 1)
        self.reduce = ConvBN(2 * width, width, 1)
        self.relu = nn.ReLU()
        self.refine = ConvBNReLU(width, width)
        self.classifier = nn.Conv2d(width, num_classes, 1)
        initialize_(self)

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits, N x num_classes x H x W, for an input N x in_channels x H x W of any size."""
        half = self.stem(x)
        quarter = self.stage4(half)
        eighth = self.stage8(quarter)
        merged = self.top(self.stage16(eighth))
        merged = self.relu(resize_like(merged, eighth) + self.lateral8(eighth))
        merged = self.relu(resize_like(merged, quarter) + self.lateral4(quarter))
        merged = self.relu(resize_like(self.reduce(merged), half) + half)
        return resize_like(self.classifier(self.refine(merged)), x)
