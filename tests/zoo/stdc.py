"""STDC1-Seg, written from its paper (Fan et al., arXiv:2104.13188): dense concatenations, BiSeNet's context path."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.heads import upsampled


class Stdc(nn.Module):
    """Gives a tuple in training and in evaluation: the logits, two auxiliary heads, a boundary map of one channel.

    Args:
        num_classes: Channels of the logits, which have the input's size.
        in_channels: Channels of the input.
        width: Channels of the third stage, 256 in the paper.
    """

    def __init__(self, num_classes: int, in_channels: int = 3, width: int = 256) -> None:
        super().__init__()
        context = 128
        self.stem = nn.Sequential(conv_act(in_channels, width // 8, 3, 2), conv_act(width // 8, width // 4, 3, 2))
        self.stage3 = nn.Sequential(Dense(width // 4, width, stride=2), Dense(width, width))
        self.stage4 = nn.Sequential(Dense(width, 2 * width, stride=2), Dense(2 * width, 2 * width))
        self.stage5 = nn.Sequential(Dense(2 * width, 4 * width, stride=2), Dense(4 * width, 4 * width))
        self.refine4, self.refine5 = Refine(2 * width, context), Refine(4 * width, context)
        self.whole = conv_act(4 * width, context, 1)
        self.smooth4, self.smooth5 = conv_act(context, context), conv_act(context, context)
        self.fuse = Fuse(width + context, width)
        self.head, self.aux3 = head(width, width, num_classes), head(width, 64, 1)
        self.aux4, self.aux5 = head(context, 64, num_classes), head(context, 64, num_classes)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        fine = self.stage3(self.stem(image))
        middle = self.stage4(fine)
        coarse = self.stage5(middle)
        whole = self.whole(F.avg_pool2d(coarse, [int(size) for size in coarse.shape[2:]]))
        deep = self.refine5(coarse) + F.interpolate(whole, coarse.shape[2:], mode="nearest")
        deep = self.smooth5(F.interpolate(deep, middle.shape[2:], mode="nearest"))
        context = self.refine4(middle) + deep
        context = self.smooth4(F.interpolate(context, fine.shape[2:], mode="nearest"))
        found = self.head(self.fuse(fine, context)), self.aux4(context), self.aux5(deep)
        logits, aux4, aux5 = (upsampled(each, image.shape[2:]) for each in found)
        return logits, aux4, aux5, upsampled(self.aux3(fine), image.shape[2:])


def conv_act(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())


def head(inputs: int, width: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(conv_act(inputs, width), nn.Conv2d(width, outputs, 1, bias=False))


class Dense(nn.Module):
    """The short-term dense concatenation: each part is half as wide as the one before it, all are joined."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.first = conv_act(inputs, outputs // 2, 1)
        self.second = conv_act(outputs // 2, outputs // 4)
        self.third, self.fourth = conv_act(outputs // 4, outputs // 8), conv_act(outputs // 8, outputs // 8)
        self.down, self.skip = nn.Identity(), nn.Identity()
        if stride == 2:
            half = outputs // 2
            depthwise = nn.Conv2d(half, half, 3, 2, 1, groups=half, bias=False)
            self.down = nn.Sequential(depthwise, nn.BatchNorm2d(half))
            self.skip = nn.AvgPool2d(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        second = self.second(self.down(first))
        third = self.third(second)
        return torch.cat([self.skip(first), second, third, self.fourth(third)], dim=1)


class Refine(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = conv_act(inputs, outputs)
        self.gate = nn.Sequential(nn.Conv2d(outputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x * self.gate(x.mean((2, 3), keepdim=True))


class Fuse(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = conv_act(inputs, outputs, 1)
        narrow = nn.Conv2d(outputs, outputs // 4, 1, bias=False)
        self.gate = nn.Sequential(narrow, nn.ReLU(), nn.Conv2d(outputs // 4, outputs, 1, bias=False), nn.Sigmoid())

    def forward(self, fine: Tensor, context: Tensor) -> Tensor:
        joined = self.conv(torch.cat([fine, context], dim=1))
        return joined * self.gate(F.adaptive_avg_pool2d(joined, 1)) + joined
