"""What a layer costs on a device, before it exists: shapes of layers, and latencies between measured ones."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy.typing as npt
import onnx

from jetseg.onnx.graph import Graph
from jetseg.onnx.node import attribute_int, attribute_ints, attribute_text

Pair = tuple[int, int]


@dataclass(frozen=True)
class LayerShape:
    """All that the latency of a convolution depends on, the values of its weights apart.

    Pairs are (vertical, horizontal).

    Attributes:
        in_channels: Channels that come in.
        out_channels: Channels that go out.
        height: Height of the input in pixels.
        width: Width of the input in pixels.
        kernel: Size of the kernel.
        stride: Stride.
        padding: Zeros on each side.
        dilation: Distance of the kernel's taps.
        groups: Groups of channels that do not mix.
        transposed: A transposed convolution.
    """

    in_channels: int
    out_channels: int
    height: int
    width: int
    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    transposed: bool = False

    @property
    def depthwise(self) -> bool:
        """Whether each channel is filtered alone."""
        return self.groups > 1 and self.groups == self.in_channels == self.out_channels

    @property
    def output_size(self) -> Pair:
        """Height and width of the output.

        >>> LayerShape(3, 8, 360, 480, kernel=(3, 3), stride=(2, 2), padding=(1, 1)).output_size
        (180, 240)
        """
        sizes = []
        for axis, size in enumerate((self.height, self.width)):
            reach = self.dilation[axis] * (self.kernel[axis] - 1)
            if self.transposed:
                sizes.append((size - 1) * self.stride[axis] - 2 * self.padding[axis] + reach + 1)
            else:
                sizes.append((size + 2 * self.padding[axis] - reach - 1) // self.stride[axis] + 1)
        return sizes[0], sizes[1]

    def with_channels(self, in_channels: int, out_channels: int) -> LayerShape:
        """Returns the same layer with other channel counts; a depthwise one has as many groups as outputs."""
        if self.depthwise:
            return replace(self, in_channels=out_channels, out_channels=out_channels, groups=out_channels)
        return replace(self, in_channels=in_channels, out_channels=out_channels)

    def __str__(self) -> str:
        """Names the layer in a table and in the cache.

        >>> str(LayerShape(64, 96, 45, 60, kernel=(3, 3), padding=(1, 1)))
        'conv 64>96 3x3 p1x1 @45x60'
        """
        parts = ["deconv" if self.transposed else "conv", f"{self.in_channels}>{self.out_channels}"]
        parts.append(_pair(self.kernel))
        parts += [f"s{_pair(self.stride)}"] if self.stride != (1, 1) else []
        parts += [f"p{_pair(self.padding)}"] if self.padding != (0, 0) else []
        parts += [f"d{_pair(self.dilation)}"] if self.dilation != (1, 1) else []
        parts += [f"g{self.groups}"] if self.groups > 1 else []
        return " ".join([*parts, f"@{self.height}x{self.width}"])


def _pair(pair: Pair) -> str:
    return f"{pair[0]}x{pair[1]}"


def layer_shape(graph: Graph, node: onnx.NodeProto, values: Mapping[str, npt.NDArray[Any]]) -> LayerShape | None:
    """Returns the shape of a convolution, given the activations that it reads; None for any other operator."""
    if node.op_type not in ("Conv", "ConvTranspose") or node.input[1] not in graph.weights:
        return None
    dims, size = graph.weights[node.input[1]].dims, values[node.input[0]].shape
    if len(size) != 4 or attribute_text(node, "auto_pad", "NOTSET") not in ("NOTSET", ""):
        return None
    groups, transposed = attribute_int(node, "group", 1), node.op_type == "ConvTranspose"
    return LayerShape(
        in_channels=size[1],
        out_channels=dims[1] * groups if transposed else dims[0],
        height=size[2],
        width=size[3],
        kernel=(dims[2], dims[3]),
        stride=_first_two(attribute_ints(node, "strides", (1, 1))),
        padding=_first_two(attribute_ints(node, "pads", (0, 0, 0, 0))),
        dilation=_first_two(attribute_ints(node, "dilations", (1, 1))),
        groups=groups,
        transposed=transposed,
    )


def _first_two(values: Sequence[int]) -> Pair:
    return values[0], values[1]


Piece = tuple[LayerShape, ...]
"""Layers that run one after the other, each on the output of the one before."""

TimeLayers = Callable[[Sequence[Piece]], Sequence[float]]
"""Measures pieces of a network on a device: their latencies in milliseconds."""


class LayerLatency:
    """Latency of a layer over its channel counts, bilinear between measured points and linear beyond them.

    Args:
        in_counts: Counts of input channels that were measured, ascending.
        out_counts: Counts of output channels that were measured, ascending.
        latencies_ms: Milliseconds, a row for each of `in_counts`, a column for each of `out_counts`.

    >>> LayerLatency([8, 16], [8, 16], [[1.0, 2.0], [3.0, 4.0]])(12, 16)
    3.0
    """

    def __init__(
        self, in_counts: Sequence[int], out_counts: Sequence[int], latencies_ms: Sequence[Sequence[float]]
    ) -> None:
        self._in_counts, self._out_counts = in_counts, out_counts
        self._latencies_ms = latencies_ms

    def __call__(self, in_channels: float, out_channels: float) -> float:
        """Returns milliseconds; never less than zero."""
        rows = [_line(out_channels, self._out_counts, row) for row in self._latencies_ms]
        return max(0.0, _line(in_channels, self._in_counts, rows))


def _line(at: float, positions: Sequence[int], values: Sequence[float]) -> float:
    """Interpolates linearly; beyond the ends, the outer segments go on."""
    if len(positions) == 1:
        return values[0]
    right = min(max(bisect_right(positions, at), 1), len(positions) - 1)
    slope = (values[right] - values[right - 1]) / (positions[right] - positions[right - 1])
    return values[right] + slope * (at - positions[right])
