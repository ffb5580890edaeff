"""Puts ONNX networks together operator by operator; weights are noise."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from jetseg.onnx.layer_shape import LayerShape, Pair

_OPSET = 18
_ROOT_OF_HALF = 0.7071067811865476


class Sketch:
    """A graph that grows; a tensor is its name, and of an image channels, height and width are remembered.

    Args:
        draw: Makes every choice.
        activation: What follows a convolution by default; empty for nothing.
    """

    def __init__(self, draw: random.Random, activation: str) -> None:
        self.draw, self.activation = draw, activation
        self.shapes: dict[str, tuple[int, int, int]] = {}
        self.macs = 0
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[TensorProto] = []
        self._noise = np.random.default_rng(draw.randrange(1 << 30))

    def finish(self, image: str, output: str) -> onnx.ModelProto:
        """Returns the network from an image to a tensor."""
        values = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, *self.shapes[name])) for name in (image, output)
        ]
        graph = helper.make_graph(self._nodes, "sketch", values[:1], values[1:], self._weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=9)

    def conv(
        self,
        name: str,
        channels: int,
        kernel: int | Pair,
        stride: int = 1,
        *,
        dilation: int = 1,
        groups: int = 1,
        activation: str | None = None,
    ) -> str:
        """Convolves, and pads so that only the stride changes the size; a stride of the kernel's size cuts patches."""
        taps = (kernel, kernel) if isinstance(kernel, int) else kernel
        patches = stride > 1 and taps == (stride, stride)
        padding = (0, 0) if patches else (dilation * (taps[0] - 1) // 2, dilation * (taps[1] - 1) // 2)
        entering, height, width = self.shapes[name]
        dilations, strides = (dilation, dilation), (stride, stride)
        shape = LayerShape(entering, channels, height, width, taps, strides, padding, dilations, groups)
        self.macs += channels * shape.output_size[0] * shape.output_size[1] * entering // groups * taps[0] * taps[1]
        weights = [self._weight(channels, entering // groups, *taps), self._weight(channels)]
        options = {"strides": strides, "pads": padding * 2, "dilations": dilations, "group": groups}
        made = self._node("Conv", [name, *weights], (channels, *shape.output_size), kernel_shape=taps, **options)
        return self.act(made, activation)

    def depthwise(self, name: str, kernel: int, stride: int = 1, activation: str | None = None) -> str:
        """Convolves each channel alone."""
        channels = self.shapes[name][0]
        return self.conv(name, channels, kernel, stride, groups=channels, activation=activation)

    def transposed(self, name: str, channels: int) -> str:
        """Doubles the size by a transposed convolution."""
        entering, height, width = self.shapes[name]
        self.macs += entering * channels * height * width * 4
        weights = [self._weight(entering, channels, 2, 2), self._weight(channels)]
        shape = (channels, 2 * height, 2 * width)
        return self.act(self._node("ConvTranspose", [name, *weights], shape, kernel_shape=(2, 2), strides=(2, 2)))

    def act(self, name: str, activation: str | None = None) -> str:
        """Applies an activation, by default the network's own."""
        kind, shape = self.activation if activation is None else activation, self.shapes[name]
        if kind == "Relu6":
            return self._node("Clip", [name, self._number(0.0), self._number(6.0)], shape)
        if kind == "Silu":
            return self._node("Mul", [name, self._node("Sigmoid", [name], shape)], shape)
        if kind == "Gelu":
            return self.gelu(name, shape)
        return self._node(kind, [name], shape) if kind else name

    def gelu(self, name: str, shape: tuple[int, int, int] | None = None) -> str:
        """Applies x / 2 * (1 + erf(x / sqrt(2))), as exporters write it."""
        root = self._node("Mul", [name, self._number(_ROOT_OF_HALF)], shape)
        grown = self._node("Add", [self._node("Erf", [root], shape), self._number(1.0)], shape)
        half = self._node("Mul", [name, self._number(0.5)], shape)
        return self._node("Mul", [half, grown], shape)

    def pool(self, name: str, kind: str, kernel: int, stride: int) -> str:
        """Pools windows, "MaxPool" or "AveragePool"."""
        channels, height, width = self.shapes[name]
        before = (kernel - 1) // 2
        after = kernel - 1 - before if stride == 1 else before
        sizes = [(size + before + after - kernel) // stride + 1 for size in (height, width)]
        pads = (before, before, after, after)
        options = {"kernel_shape": (kernel, kernel), "strides": (stride, stride), "pads": pads}
        return self._node(kind, [name], (channels, *sizes), **options)

    def resize(self, name: str, height: int, width: int, mode: str) -> str:
        """Brings an image to a size, "linear" or "nearest"."""
        channels = self.shapes[name][0]
        sizes = self._constant(np.array([1, channels, height, width], np.int64))
        transform = "half_pixel" if mode == "linear" else "asymmetric"
        options = {"mode": mode, "coordinate_transformation_mode": transform, "nearest_mode": "floor"}
        return self._node("Resize", [name, "", "", sizes], (channels, height, width), **options)

    def add(self, first: str, second: str) -> str:
        """Adds two images."""
        return self._node("Add", [first, second], self.shapes[first])

    def concat(self, names: Sequence[str]) -> str:
        """Puts the channels of images together."""
        channels = sum(self.shapes[name][0] for name in names)
        return self._node("Concat", list(names), (channels, *self.shapes[names[0]][1:]), axis=1)

    def gate(self, name: str) -> str:
        """Scales channels by what is seen of the whole image (squeeze and excitation)."""
        channels, height, width = self.shapes[name]
        seen = self.mean(name)
        few = max(4, channels // self.draw.choice((4, 8, 16)))
        kind = self.draw.choice(("Sigmoid", "HardSigmoid"))
        scale = self.conv(self.conv(seen, few, 1, activation="Relu"), channels, 1, activation=kind)
        return self._node("Mul", [name, scale], (channels, height, width))

    def mean(self, name: str) -> str:
        """Takes the mean of each channel."""
        axes = self._constant(np.array([2, 3], np.int64))
        return self._node("ReduceMean", [name, axes], (self.shapes[name][0], 1, 1), keepdims=1)

    def shuffle(self, name: str, groups: int) -> str:
        """Deals the channels of groups out in turn."""
        channels, height, width = shape = self.shapes[name]
        if channels % groups:
            return name
        apart = self._reshape(name, 1, groups, channels // groups, height, width)
        return self._reshape(self._node("Transpose", [apart], None, perm=(0, 2, 1, 3, 4)), 1, *shape, image=shape)

    # Rows of tokens: 1 x positions x channels.

    def tokens(self, name: str) -> str:
        """Turns an image into rows, one per position."""
        channels, height, width = self.shapes[name]
        return self._node("Transpose", [self._reshape(name, 1, channels, height * width)], None, perm=(0, 2, 1))

    def image(self, tokens: str, channels: int, height: int, width: int) -> str:
        """Turns rows back into an image."""
        turned = self._node("Transpose", [tokens], None, perm=(0, 2, 1))
        return self._reshape(turned, 1, channels, height, width, image=(channels, height, width))

    def norm(self, tokens: str, channels: int) -> str:
        """Normalizes rows."""
        return self._node("LayerNormalization", [tokens, self._weight(channels), self._weight(channels)], None, axis=-1)

    def linear(self, tokens: str, entering: int, channels: int) -> str:
        """Multiplies rows with a matrix, and adds a bias."""
        product = self._node("MatMul", [tokens, self._weight(entering, channels)], None)
        return self._node("Add", [self._weight(channels), product], None)

    def plus(self, first: str, second: str) -> str:
        """Adds rows."""
        return self._node("Add", [first, second], None)

    def attention(self, tokens: str, positions: int, channels: int, heads: int, reduced: str, kept: int) -> str:
        """Lets each row look at all rows, or at fewer that stand for them.

        Args:
            tokens: Rows that look.
            positions: Their number.
            channels: Of a row.
            heads: Looks at a time.
            reduced: Rows that are looked at.
            kept: Their number.
        """
        each = channels // heads
        queries, keys, values = (
            self._node("Transpose", [self._reshape(linear, 1, count, heads, each)], None, perm=order)
            for linear, count, order in (
                (self.linear(tokens, channels, channels), positions, (0, 2, 1, 3)),
                (self.linear(reduced, channels, channels), kept, (0, 2, 3, 1)),
                (self.linear(reduced, channels, channels), kept, (0, 2, 1, 3)),
            )
        )
        likeness = self._node("MatMul", [queries, keys], None)
        scaled = self._node("Mul", [likeness, self._number(each**-0.5)], None)
        mixed = self._node("MatMul", [self._node("Softmax", [scaled], None, axis=-1), values], None)
        joined = self._reshape(self._node("Transpose", [mixed], None, perm=(0, 2, 1, 3)), 1, positions, channels)
        return self.linear(joined, channels, channels)

    def _reshape(self, name: str, *sizes: int, image: tuple[int, int, int] | None = None) -> str:
        return self._node("Reshape", [name, self._constant(np.array(sizes, np.int64))], image)

    def _node(self, kind: str, inputs: list[str], shape: Sequence[int] | None, **options: object) -> str:
        name = f"t{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [name], **options))
        if shape is not None:
            channels, height, width = shape
            self.shapes[name] = (channels, height, width)
        return name

    def _weight(self, *shape: int) -> str:
        scale = max(1, int(np.prod(shape[1:]))) ** -0.5
        return self._constant((scale * self._noise.standard_normal(shape)).astype(np.float32))

    def _number(self, value: float) -> str:
        return self._constant(np.array(value, np.float32))

    def _constant(self, value: npt.NDArray[Any]) -> str:
        name = f"w{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(value, name))
        return name
