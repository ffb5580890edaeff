"""TopFormer-Tiny, written from its paper (Zhang et al., arXiv:2204.05525): pooled tokens, attention, injected back."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.heads import upsampled
from zoo.pidnet import conv_bn

_STEM = 16
# Kernel, expansion, channels, stride of each block; a stage ends where a token map is taken.
_STAGES = (
    ((3, 1, 16, 1), (3, 4, 16, 2), (3, 3, 16, 1)),
    ((5, 3, 32, 2), (5, 3, 32, 1)),
    ((3, 3, 64, 2), (3, 3, 64, 1)),
    ((5, 6, 96, 2), (5, 6, 96, 1)),
)
_TAKEN = (16, 32, 64, 96)


class TopFormer(nn.Module):
    """Gives logits at 1/8 of the input's size.

    Args:
        num_classes: Channels of the logits.
        in_channels: Channels of the input.
        depth: Attention blocks.
        width: Channels that the token maps get when semantics are injected into them.
    """

    def __init__(self, num_classes: int, in_channels: int = 3, depth: int = 4, width: int = 128) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv_bn(in_channels, _STEM, 3, 2), nn.ReLU6())
        inputs, stages = _STEM, []
        for blocks in _STAGES:
            stage = []
            for size, expansion, outputs, stride in blocks:
                stage.append(Inverted(inputs, outputs, size, stride, expansion))
                inputs = outputs
            stages.append(nn.Sequential(*stage))
        self.stages = nn.ModuleList(stages)
        self.blocks = nn.Sequential(*(Block(sum(_TAKEN)) for _ in range(depth)))
        self.inject = nn.ModuleList(Injection(channels, width) for channels in _TAKEN[1:])
        self.head = nn.Sequential(conv_bn(width, width, 1), nn.ReLU(), nn.Dropout2d(0.1))
        self.classifier = nn.Conv2d(width, num_classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        maps, x = [], self.stem(image)
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        size = ((maps[-1].shape[2] - 1) // 2 + 1, (maps[-1].shape[3] - 1) // 2 + 1)
        tokens = self.blocks(torch.cat([F.adaptive_avg_pool2d(each, size) for each in maps], dim=1))
        semantics = tokens.split(_TAKEN, dim=1)[1:]
        injected = [inject(local, whole) for inject, local, whole in zip(self.inject, maps[1:], semantics, strict=True)]
        total = injected[0]
        for each in injected[1:]:
            total = total + upsampled(each, total.shape[2:])
        return self.classifier(self.head(total))


class Inverted(nn.Module):
    """An inverted residual of MobileNetV2."""

    def __init__(self, inputs: int, outputs: int, size: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        widen = [conv_bn(inputs, wide, 1), nn.ReLU6()] if expansion > 1 else []
        depthwise = nn.Conv2d(wide, wide, size, stride, size // 2, groups=wide, bias=False)
        self.body = nn.Sequential(*widen, depthwise, nn.BatchNorm2d(wide), nn.ReLU6(), conv_bn(wide, outputs, 1))
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.residual else self.body(x)


class Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attention = Attention(channels)
        wide = 2 * channels
        depthwise = nn.Conv2d(wide, wide, 3, padding=1, groups=wide)
        self.mlp = nn.Sequential(conv_bn(channels, wide, 1), depthwise, nn.ReLU6(), conv_bn(wide, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(x)
        return x + self.mlp(x)


class Attention(nn.Module):
    """Attention whose projections are 1x1 convolutions with batch norm; keys are narrower than values."""

    def __init__(self, channels: int, heads: int = 4, key_width: int = 16, value_width: int = 32) -> None:
        super().__init__()
        self.heads, self.key_width, self.value_width = heads, key_width, value_width
        self.query, self.key = conv_bn(channels, heads * key_width, 1), conv_bn(channels, heads * key_width, 1)
        self.value = conv_bn(channels, heads * value_width, 1)
        self.project = nn.Sequential(nn.ReLU6(), conv_bn(heads * value_width, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        query = self.query(x).reshape(batch, self.heads, self.key_width, height * width).permute(0, 1, 3, 2)
        key = self.key(x).reshape(batch, self.heads, self.key_width, height * width)
        value = self.value(x).reshape(batch, self.heads, self.value_width, height * width).permute(0, 1, 3, 2)
        mixed = torch.softmax(query @ key, dim=-1) @ value
        flat = mixed.permute(0, 1, 3, 2).reshape(batch, self.heads * self.value_width, height, width)
        return self.project(flat)


class Injection(nn.Module):
    """Semantics gate the local map and are added to it."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.local, self.whole = conv_bn(channels, width, 1), conv_bn(channels, width, 1)
        self.gate = nn.Sequential(conv_bn(channels, width, 1), nn.Hardsigmoid())

    def forward(self, local: Tensor, whole: Tensor) -> Tensor:
        size = local.shape[2:]
        return self.local(local) * upsampled(self.gate(whole), size) + upsampled(self.whole(whole), size)
