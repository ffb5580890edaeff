"""Draws networks at random whose operators, sizes and connections are those of segmentation networks."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import onnx

from jetseg.engine.sketch import Sketch
from jetseg.input_spec import InputSpec
from jetseg.manifest import Manifest
from jetseg.output_spec import OutputSpec

_SIZES = ((128, 128), (128, 256), (128, 256), (192, 256), (240, 320), (256, 256), (224, 224), (256, 512), (360, 480))
_ACTIVATIONS = ("Relu", "Relu", "Relu", "Relu6", "HardSwish", "Silu", "Gelu", "LeakyRelu", "")
_MOST_MACS = 2e8


def draw_network(seed: int) -> tuple[onnx.ModelProto, Manifest]:
    """Draws a network: a stem, stages of blocks of some kinds, a decoder, logits at the size of the image.

    Args:
        seed: Each gives another network, the same everywhere.
    """
    drawing = _Drawing(random.Random(seed))
    return drawing.model(), drawing.manifest


class _Drawing(Sketch):
    """A network whose parts are drawn."""

    def __init__(self, draw: random.Random) -> None:
        super().__init__(draw, draw.choice(_ACTIVATIONS))
        height, width = draw.choice(_SIZES)
        self.shapes["image"] = (3, height, width)
        self._classes = draw.choice((2, 8, 11, 19, 19, 21))
        spec = InputSpec(height=height, width=width, color="rgb", scale=1 / 255, mean=(0.5,) * 3, std=(0.25,) * 3)
        names = tuple(f"class {index}" for index in range(self._classes))
        self.manifest = Manifest(input=spec, outputs=(OutputSpec(classes=names),))

    def model(self) -> onnx.ModelProto:
        """Draws everything, and returns the network."""
        return self.finish("image", self._decode(self._encode()))

    def _encode(self) -> list[str]:
        """Returns the outputs of the stages, fine to coarse."""
        blocks: list[Callable[[str, int, int], str]] = [
            *(self.plain, self.basic, self.bottleneck, self.inverted, self.inverted, self.separable),
            *(self.gated, self.joined, self.convnext, self.transformer, self.pooled, self.shuffled),
        ]
        kinds = self.draw.sample(blocks, k=self.draw.randint(1, 3))
        patch = self.draw.random() < 0.15
        first = self._channels(8, 64)
        name = self.conv("image", first, 4, 4) if patch else self.conv("image", first, self.draw.choice((3, 3, 7)), 2)
        if not patch and self.draw.random() < 0.3:
            name = self.pool(name, "MaxPool", 3, 2)
        stages = [name]
        for _ in range(self.draw.randint(2, 4)):
            channels = min(self._channels(16, 320), 4 * self.shapes[name][0])
            stride = 2 if min(self.shapes[name][1:]) > 8 and self.draw.random() < 0.85 else 1
            for index in range(self.draw.randint(1, 3)):
                if self.macs > _MOST_MACS:
                    break
                kind = self.draw.choice(kinds)
                name = kind(name, channels, stride if index == 0 else 1)
            stages.append(name)
        return stages

    def _decode(self, stages: list[str]) -> str:
        """Joins the stages from coarse to fine, classifies, and brings the logits to the size of the image."""
        width, name = self._channels(16, 128), stages[-1]
        if self.draw.random() < 0.25:
            name = self.dilated(name, width)
        if self.draw.random() < 0.3:
            name = self.summarized(name, width)
        how = self.draw.choice(("add", "concat", "concat", "none", "transposed"))
        for stage in [] if how == "none" else reversed(stages[:-1]):
            if self.macs > 2 * _MOST_MACS:
                break
            name = self._joined_with(name, stage, how, width)
        if self.draw.random() < 0.5:
            name = self.conv(name, width, 3)
        logits = self.conv(name, self._classes, 1, activation="")
        return self.resize(logits, *self.shapes["image"][1:], "linear")

    def _joined_with(self, name: str, stage: str, how: str, width: int) -> str:
        _, height, columns = self.shapes[stage]
        if how == "transposed" and self.shapes[name][1] * 2 == height and self.shapes[name][2] * 2 == columns:
            name = self.transposed(name, width)
        elif self.shapes[name][1:] != (height, columns):
            name = self.resize(name, height, columns, self.draw.choice(("linear", "nearest")))
        if how == "concat":
            return self.conv(self.concat([name, stage]), width, self.draw.choice((1, 3, 3)))
        if self.shapes[name][0] != width:
            name = self.conv(name, width, 1, activation="")
        name = self.add(name, self.conv(stage, width, 1, activation=""))
        return self.conv(name, width, 3) if self.draw.random() < 0.5 else name

    # Blocks: each takes a tensor, the channels and the stride of what it makes.

    def plain(self, name: str, channels: int, stride: int) -> str:
        """A 3x3 convolution, at times dilated or in two one-dimensional ones."""
        if stride == 1 and self.draw.random() < 0.3:
            return self.conv(self.conv(name, channels, (3, 1)), channels, (1, 3))
        return self.conv(name, channels, 3, stride, dilation=self.draw.choice((1, 1, 2, 4)) if stride == 1 else 1)

    def basic(self, name: str, channels: int, stride: int) -> str:
        """Two 3x3 convolutions with a shortcut (ResNet)."""
        inner = self.conv(self.conv(name, channels, 3, stride), channels, 3, activation="")
        return self.act(self.add(inner, self._shortcut(name, channels, stride)))

    def bottleneck(self, name: str, channels: int, stride: int) -> str:
        """1x1, 3x3, 1x1 with a shortcut (ResNet-50), the middle one at times grouped."""
        inner = max(8, channels // 4 // 8 * 8)
        groups = self.draw.choice((1, 1, 1, 4)) if inner % 4 == 0 else 1
        middle = self.conv(self.conv(name, inner, 1), inner, 3, stride, groups=groups)
        return self.act(self.add(self.conv(middle, channels, 1, activation=""), self._shortcut(name, channels, stride)))

    def inverted(self, name: str, channels: int, stride: int) -> str:
        """1x1 wide, depthwise, 1x1 narrow (MobileNetV2), at times with a gate (V3, EfficientNet)."""
        entering = self.shapes[name][0]
        inner = min(1152, self.draw.choice((2, 3, 4, 6)) * entering)
        middle = self.depthwise(self.conv(name, inner, 1), self.draw.choice((3, 3, 5)), stride)
        if self.draw.random() < 0.4:
            middle = self.gate(middle)
        made = self.conv(middle, channels, 1, activation="")
        return self.add(made, name) if stride == 1 and entering == channels else made

    def separable(self, name: str, channels: int, stride: int) -> str:
        """Depthwise, then 1x1."""
        return self.conv(self.depthwise(name, 3, stride, self.draw.choice(("", None))), channels, 1)

    def gated(self, name: str, channels: int, stride: int) -> str:
        """A convolution whose channels are scaled by what is seen of the whole image."""
        return self.gate(self.conv(name, channels, 3, stride))

    def joined(self, name: str, channels: int, stride: int) -> str:
        """Branches that are concatenated."""
        half = max(4, channels // 2)
        left = self.conv(name, half, self.draw.choice((1, 3)), stride)
        return self.concat([left, self.depthwise(left, 3, 1) if self.draw.random() < 0.5 else self.conv(left, half, 3)])

    def convnext(self, name: str, channels: int, stride: int) -> str:
        """A large depthwise convolution, a norm over channels, two linear layers."""
        name = self.conv(name, channels, 2 if stride == 2 else 1, stride, activation="")
        tokens = self.norm(self.tokens(self.depthwise(name, 7, 1, "")), channels)
        inner = self.linear(self.gelu(self.linear(tokens, channels, 4 * channels)), 4 * channels, channels)
        return self.add(self.image(inner, *self.shapes[name]), name)

    def transformer(self, name: str, channels: int, stride: int) -> str:
        """Attention over all positions, at times over fewer keys (SegFormer), and two linear layers."""
        heads = self.draw.choice((1, 2, 4, 8))
        channels = max(heads * 8, channels // (heads * 8) * heads * 8)
        name = self.conv(name, channels, 3, stride, activation="")
        while self.shapes[name][1] * self.shapes[name][2] > 2048:
            name = self.conv(name, channels, 3, 2, activation="")
        _, height, width = shape = self.shapes[name]
        tokens, positions = self.tokens(name), height * width
        rows = reduced = self.norm(tokens, channels)
        kept = positions
        if self.draw.random() < 0.5 and min(height, width) >= 4:
            fewer = self.conv(self.image(rows, *shape), channels, 2, 2, activation="")
            kept = self.shapes[fewer][1] * self.shapes[fewer][2]
            reduced = self.norm(self.tokens(fewer), channels)
        tokens = self.plus(tokens, self.attention(rows, positions, channels, heads, reduced, kept))
        inner = self.gelu(self.linear(self.norm(tokens, channels), channels, 4 * channels))
        return self.image(self.plus(tokens, self.linear(inner, 4 * channels, channels)), *shape)

    def pooled(self, name: str, channels: int, stride: int) -> str:
        """A pooling window, then a convolution."""
        kind = self.draw.choice(("MaxPool", "AveragePool"))
        return self.conv(self.pool(name, kind, self.draw.choice((2, 3)), stride), channels, 3)

    def shuffled(self, name: str, channels: int, stride: int) -> str:
        """Grouped convolutions around a shuffle of channels."""
        groups = 4 if self.shapes[name][0] % 4 == 0 else 1
        channels = max(8, channels // 8 * 8)
        made = self.shuffle(self.conv(name, channels, 1, groups=groups), 4)
        return self.conv(self.depthwise(made, 3, stride, ""), channels, 1, groups=4)

    def _shortcut(self, name: str, channels: int, stride: int) -> str:
        if stride == 1 and self.shapes[name][0] == channels:
            return name
        return self.conv(name, channels, 1, stride, activation="")

    def dilated(self, name: str, channels: int) -> str:
        """Branches of several dilations, and one of the whole image (ASPP)."""
        branches = [self.conv(name, channels, 1)]
        branches += [self.conv(name, channels, 3, dilation=dilation) for dilation in (2, 4, 6)]
        return self.conv(self.concat([*branches, self._whole(name, channels)]), channels, 1)

    def summarized(self, name: str, channels: int) -> str:
        """Pools to coarser images, and concatenates what they say (pyramid pooling)."""
        channels = max(4, channels // 4)
        coarse = self.conv(self.pool(name, "AveragePool", 3, 2), channels, 1)
        wide = self.resize(coarse, *self.shapes[name][1:], "linear")
        return self.conv(self.concat([name, wide, self._whole(name, channels)]), channels * 4, 1)

    def _whole(self, name: str, channels: int) -> str:
        _, height, width = self.shapes[name]
        return self.resize(self.conv(self.mean(name), channels, 1), height, width, "linear")

    def _channels(self, least: int, most: int) -> int:
        """Draws a number of channels, small ones more often; mostly a multiple of 8, as in pruned networks too."""
        count = least * math.exp(self.draw.random() * math.log(most / least))
        step = self.draw.choice((8, 8, 8, 16, 4)) if self.draw.random() < 0.9 else 1
        return max(4, round(count / step) * step)
