"""Convolutions as matrix products: their weights as matrices, their inputs as rows of patches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from jetseg.onnx.node import attribute_ints, attribute_text

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class LayerMatrix:
    """How the weight of a Conv, or of a ConvTranspose whose taps do not overlap, is laid out as a matrix.

    Attributes:
        transposed: True for ConvTranspose.
        groups: Groups of channels.
        kernel: Height and width of the kernel; likewise `strides`, `dilations`.
        pads: Padding: top, left, bottom, right.
        inputs: Products that one output sums.
    """

    transposed: bool
    groups: int
    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int, int, int]
    inputs: int

    @classmethod
    def of(cls, node: onnx.NodeProto, shape: Sequence[int], groups: int) -> LayerMatrix | None:
        """Reads the layout off a node; None for layers that it cannot express."""
        if node.op_type not in ("Conv", "ConvTranspose") or len(shape) != 4:
            return None
        if attribute_text(node, "auto_pad", "NOTSET") not in ("NOTSET", ""):
            return None
        transposed = node.op_type == "ConvTranspose"
        top, left, bottom, right = attribute_ints(node, "pads", (0, 0, 0, 0))
        strides, dilations = attribute_ints(node, "strides", (1, 1)), attribute_ints(node, "dilations", (1, 1))
        layout = cls(
            transposed,
            groups,
            (int(shape[2]), int(shape[3])),
            (strides[0], strides[1]),
            (dilations[0], dilations[1]),
            (top, left, bottom, right),
            int(shape[0]) if transposed else int(np.prod(shape[1:])),
        )
        whole = layout.strides == layout.kernel and not any(layout.pads) and groups == 1
        return layout if not transposed or (whole and layout.dilations == (1, 1)) else None

    def to_blocks(self, weight: Array) -> Array:
        """Returns a matrix per group: groups x outputs x inputs."""
        if self.transposed:
            return np.asarray(weight.transpose(1, 2, 3, 0).reshape(1, -1, weight.shape[0]))
        return weight.reshape(self.groups, weight.shape[0] // self.groups, -1)

    def from_blocks(self, blocks: Array, shape: Sequence[int]) -> Array:
        """Turns the matrices back into a weight of the given shape."""
        if self.transposed:
            return np.asarray(blocks.reshape(*shape[1:], shape[0]).transpose(3, 0, 1, 2))
        return blocks.reshape(shape)

    def samples(self, values: Array, targets: Array, positions: Array) -> tuple[Array, Array]:
        """Reads a layer's inputs and targets at some positions of one frame.

        Args:
            values: What the layer reads: 1 x C x H x W.
            targets: What it should compute: 1 x O x H' x W'.
            positions: count x 2, vertical and horizontal, each from 0 to below 1.

        Returns:
            Inputs (groups x count x inputs) and targets (groups x count x outputs).
        """
        count = len(positions)
        rows, columns = (positions * (values if self.transposed else targets).shape[2:]).astype(np.int64).T
        if self.transposed:
            tall, wide = self.kernel
            taps = [targets[0][:, rows * tall + y, columns * wide + x] for y in range(tall) for x in range(wide)]
            wanted = np.stack(taps, axis=-1).transpose(1, 0, 2).reshape(1, count, -1)
            return values[0][:, rows, columns].T[None], wanted
        wanted = targets[0][:, rows, columns].reshape(self.groups, -1, count).transpose(0, 2, 1)
        return self._patches(values[0], rows, columns), wanted

    def _patches(self, values: Array, rows: Array, columns: Array) -> Array:
        """Returns the patches under the kernel: groups x positions x products."""
        down = rows[:, None] * self.strides[0] - self.pads[0] + np.arange(self.kernel[0]) * self.dilations[0]
        across = columns[:, None] * self.strides[1] - self.pads[1] + np.arange(self.kernel[1]) * self.dilations[1]
        channels, height, width = values.shape
        inside = ((down >= 0) & (down < height))[:, :, None] & ((across >= 0) & (across < width))[:, None, :]
        places = down.clip(0, height - 1)[:, :, None] * width + across.clip(0, width - 1)[:, None, :]
        taps = np.take(values.reshape(channels, -1), places, axis=1, mode="clip")
        taps[:, ~inside] = 0
        patches = taps.reshape(self.groups, -1, len(rows), inside[0].size)
        return np.asarray(patches.transpose(0, 2, 1, 3).reshape(self.groups, len(rows), -1))
