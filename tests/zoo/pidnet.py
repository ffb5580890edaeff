"""PIDNet-S, written from its paper (Xu et al., arXiv:2206.02066): three branches, gates, a parallel pooling pyramid."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo.heads import upsampled


def conv_bn(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False), nn.BatchNorm2d(outputs))


class PidNet(nn.Module):
    """Gives a list as its authors' code does: an auxiliary head, the logits, a boundary map of one channel.

    Args:
        num_classes: Channels of the logits, at 1/8 of the input's size.
        in_channels: Channels of the input.
        width: Channels of the stem, 32 in the variant S.
        head_width: Channels inside the main head; the auxiliary heads have as many.
    """

    def __init__(self, num_classes: int, in_channels: int = 3, width: int = 32, head_width: int = 128) -> None:
        super().__init__()
        w = width
        self.stem = nn.Sequential(conv_bn(in_channels, w, 3, 2), nn.ReLU(), conv_bn(w, w, 3, 2), nn.ReLU())
        self.layer1 = _stage(Basic, w, w, 2)
        self.layer2 = _stage(Basic, w, 2 * w, 2, stride=2)
        self.layer3 = _stage(Basic, 2 * w, 4 * w, 3, stride=2)
        self.layer4 = _stage(Basic, 4 * w, 8 * w, 3, stride=2)
        self.layer5 = _stage(Bottleneck, 8 * w, 8 * w, 2, stride=2)
        self.detail3, self.detail4 = _stage(Basic, 2 * w, 2 * w, 2), _stage(Basic, 2 * w, 2 * w, 2)
        self.detail5 = _stage(Bottleneck, 2 * w, 2 * w, 1)
        self.compress3, self.compress4 = conv_bn(4 * w, 2 * w, 1), conv_bn(8 * w, 2 * w, 1)
        self.pag3, self.pag4 = Pag(2 * w, w), Pag(2 * w, w)
        self.edge3, self.edge4 = Basic(2 * w, w, last=False), _stage(Bottleneck, w, w, 1)
        self.edge5 = _stage(Bottleneck, 2 * w, 2 * w, 1)
        self.difference3, self.difference4 = conv_bn(4 * w, w), conv_bn(8 * w, 2 * w)
        self.pyramid = Pappm(16 * w, 3 * w, 4 * w)
        self.fuse = LightBag(4 * w)
        self.aux_head, self.edge_head = Head(2 * w, head_width, num_classes), Head(2 * w, w, 1)
        self.head = Head(4 * w, head_width, num_classes)

    def forward(self, image: Tensor) -> list[Tensor]:
        size = (image.shape[2] // 8, image.shape[3] // 8)
        x = self.layer2(torch.relu(self.layer1(self.stem(image))))
        x = torch.relu(x)
        detail, edge = self.detail3(x), self.edge3(x)
        x = torch.relu(self.layer3(x))
        detail = self.pag3(detail, self.compress3(x))
        edge = edge + upsampled(self.difference3(x), size)
        aux = detail
        x = torch.relu(self.layer4(x))
        detail, edge = self.detail4(torch.relu(detail)), self.edge4(torch.relu(edge))
        detail = self.pag4(detail, self.compress4(x))
        edge = edge + upsampled(self.difference4(x), size)
        boundary = edge
        detail, edge = self.detail5(torch.relu(detail)), self.edge5(torch.relu(edge))
        x = upsampled(self.pyramid(self.layer5(x)), size)
        return [self.aux_head(aux), self.head(self.fuse(detail, x, edge)), self.edge_head(boundary)]


class Basic(nn.Module):
    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int = 1, *, last: bool = True) -> None:
        super().__init__()
        self.body = nn.Sequential(conv_bn(inputs, width, 3, stride), nn.ReLU(), conv_bn(width, width))
        same = stride == 1 and inputs == width
        self.shortcut = nn.Identity() if same else conv_bn(inputs, width, 1, stride)
        self.last = nn.ReLU() if last else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.body(x) + self.shortcut(x))


class Bottleneck(nn.Module):
    expansion = 2

    def __init__(self, inputs: int, width: int, stride: int = 1, *, last: bool = True) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.body = nn.Sequential(
            conv_bn(inputs, width, 1),
            nn.ReLU(),
            conv_bn(width, width, 3, stride),
            nn.ReLU(),
            conv_bn(width, outputs, 1),
        )
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else conv_bn(inputs, outputs, 1, stride)
        self.last = nn.ReLU() if last else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.body(x) + self.shortcut(x))


def _stage(
    block: type[Basic] | type[Bottleneck], inputs: int, width: int, count: int, stride: int = 1
) -> nn.Sequential:
    blocks = []
    for index in range(count):
        blocks.append(block(inputs, width, stride if index == 0 else 1, last=index < count - 1))
        inputs = width * block.expansion
    return nn.Sequential(*blocks)


class Pag(nn.Module):
    """Pixel-attention-guided fusion: the two maps' likeness, summed over channels, gates where context enters."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.of_detail, self.of_context = conv_bn(channels, width, 1), conv_bn(channels, width, 1)

    def forward(self, detail: Tensor, context: Tensor) -> Tensor:
        size = detail.shape[2:]
        key = upsampled(self.of_context(context), size)
        likeness = torch.sigmoid(torch.sum(key * self.of_detail(detail), dim=1).unsqueeze(1))
        return (1 - likeness) * detail + likeness * upsampled(context, size)


class Pappm(nn.Module):
    """Parallel aggregation pyramid pooling: pooled branches go through one grouped convolution together."""

    def __init__(self, inputs: int, width: int, outputs: int) -> None:
        super().__init__()
        pools = [nn.AvgPool2d(2 * stride + 1, stride, stride, count_include_pad=False) for stride in (2, 4, 8)]
        self.pools = nn.ModuleList([*pools, nn.AdaptiveAvgPool2d(1)])
        self.scales = nn.ModuleList(_before(inputs, width, 1) for _ in self.pools)
        self.scale0 = _before(inputs, width, 1)
        self.process = _before(4 * width, 4 * width, 3, groups=4)
        self.compression, self.shortcut = _before(5 * width, outputs, 1), _before(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        size, first = x.shape[2:], self.scale0(x)
        pooled = [upsampled(scale(pool(x)), size) + first for pool, scale in zip(self.pools, self.scales, strict=True)]
        return self.compression(torch.cat([first, self.process(torch.cat(pooled, 1))], 1)) + self.shortcut(x)


def _before(inputs: int, outputs: int, size: int, groups: int = 1) -> nn.Sequential:
    """A convolution with normalization and activation in front of it."""
    conv = nn.Conv2d(inputs, outputs, size, padding=size // 2, groups=groups, bias=False)
    return nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU(), conv)


class LightBag(nn.Module):
    """Boundary-attention-guided fusion of the light variants."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.of_detail, self.of_context = conv_bn(channels, channels, 1), conv_bn(channels, channels, 1)

    def forward(self, detail: Tensor, context: Tensor, edge: Tensor) -> Tensor:
        at_edge = torch.sigmoid(edge)
        from_detail = self.of_detail((1 - at_edge) * context + detail)
        return from_detail + self.of_context(context + at_edge * detail)


class Head(nn.Module):
    def __init__(self, inputs: int, width: int, outputs: int) -> None:
        super().__init__()
        self.first = _before(inputs, width, 3)
        self.norm = nn.BatchNorm2d(width)
        self.last = nn.Conv2d(width, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.norm(self.first(x))))
