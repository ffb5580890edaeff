"""Which factors of channels lose least to a common scale, found from ranges and weights alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx

from jetseg.onnx.graph import Graph
from jetseg.onnx.node import attribute_float, attribute_int
from jetseg.quantization.correct.channel_groups import ChannelGroups, Factors, Group
from jetseg.quantization.qdq.kernels import is_matrix_layer
from jetseg.quantization.qdq.placement import range_source

_SHARPNESS = 8.0
"""Of the smooth maximum over the channels of a tensor."""
_STEPS = 400
_STEP = 0.05
_MEMORY = (0.9, 0.99)
_NARROWEST = 1e-6
_TINY = 1e-30


@dataclass(frozen=True)
class Reading:
    """What one layer reads, channel by channel.

    Attributes:
        source: Groups of the channels of the tensor whose range the quantizer has.
        ranges: Range of each of them.
        read: Groups of the channels that the layer reads.
        gains: Power that the layer's weights give each of them.
    """

    source: Group
    ranges: Factors
    read: Group
    gains: Factors


def readings(
    graph: Graph, groups: ChannelGroups, magnitudes: Mapping[str, Factors], *, norms: bool = False
) -> list[Reading]:
    """Returns what convolutions and linear layers read, as far as its channels and ranges are known.

    With `norms`, what batch norms read as well. A batch norm that is left has branches before it that are added or
    joined, which some runtimes write in 8 bits.
    """
    found = []
    for node in graph.nodes:
        source = range_source(graph, node.input[0]) if node.input else ""
        known = node.input and node.input[0] in groups.of and source in groups.of and source in magnitudes
        norm = norms and node.op_type == "BatchNormalization" and graph.owns(node)
        if not known or not (norm or is_matrix_layer(graph, node)):
            continue
        gains = input_gains(graph, node)
        if len(gains) != len(groups.of[node.input[0]]):
            continue  # it does not sum over channels
        widest = magnitudes[source].max()
        ranges = np.maximum(magnitudes[source], widest * _NARROWEST)
        if widest > 0:
            found.append(Reading(groups.of[source], ranges, groups.of[node.input[0]], gains))
    return found


def input_gains(graph: Graph, node: onnx.NodeProto) -> Factors:
    """Returns the power that the weights of a layer or batch norm give each channel that it reads."""
    power = graph.weight(node.input[1]).astype(np.float64) ** 2
    if node.op_type == "BatchNormalization":
        gains = power / (graph.weight(node.input[4]).astype(np.float64) + attribute_float(node, "epsilon", 1e-5))
    elif node.op_type == "Conv":
        parts = power.reshape(attribute_int(node, "group", 1), -1, power.shape[1], int(np.prod(power.shape[2:])))
        gains = parts.sum(axis=(1, 3)).ravel()
    elif node.op_type == "Gemm" and attribute_int(node, "transB", 0):
        gains = power.sum(axis=0)
    else:
        gains = power.reshape(power.shape[0], -1).sum(axis=1)
    return np.asarray(gains)


def balance(layers: Sequence[Reading], groups: ChannelGroups, start: Factors) -> Factors:
    """Returns the factor to divide each group of channels by.

    A layer's noise is the square of its input's step, which the widest channel decides, times the power that its
    weights give to the channels, both after the factors; its signal is the power of its channels at the ends of their
    ranges. The sum over the layers of noise by signal is made small. It is convex in the logarithms of the factors,
    and descended by steps of a size that adapts to each of them (D. Kingma and J. Ba, "Adam", 2014).

    Args:
        layers: See `readings`.
        groups: The free factors.
        start: Where to begin.
    """
    noise = _Noise(layers)
    logs = np.log(start)
    mean, square = np.zeros_like(logs), np.zeros_like(logs)
    for step in range(1, _STEPS + 1):
        slope = np.where(groups.fixed, 0.0, noise.slope(logs))
        mean = _MEMORY[0] * mean + (1 - _MEMORY[0]) * slope
        square = _MEMORY[1] * square + (1 - _MEMORY[1]) * slope**2
        ahead = (mean / (1 - _MEMORY[0] ** step)) / (np.sqrt(square / (1 - _MEMORY[1] ** step)) + _TINY)
        logs -= _STEP * (1 - step / _STEPS) * ahead
    return np.asarray(np.exp(logs))


class _Noise:
    """Noise by signal of all layers, with their channels in one row."""

    def __init__(self, layers: Sequence[Reading]) -> None:
        self._source = np.concatenate([layer.source for layer in layers])
        self._ranges = np.log(np.concatenate([layer.ranges for layer in layers]))
        self._read = np.concatenate([layer.read for layer in layers])
        self._gains = np.concatenate([layer.gains for layer in layers]) + _TINY
        self._source_counts = np.array([len(layer.source) for layer in layers])
        self._read_counts = np.array([len(layer.read) for layer in layers])
        self._signal = np.log([_signal(layer) + _TINY for layer in layers])

    def slope(self, logs: Factors) -> npt.NDArray[np.float64]:
        """Returns how the noise grows with the logarithm of each factor."""
        starts = np.concatenate([[0], np.cumsum(self._source_counts)[:-1]])
        scaled = self._ranges - logs[self._source]
        widest = np.maximum.reduceat(scaled, starts)
        shares = np.exp(_SHARPNESS * (scaled - np.repeat(widest, self._source_counts)))
        sums = np.add.reduceat(shares, starts)
        power = self._gains * np.exp(2 * logs[self._read])
        powers = np.add.reduceat(power, np.concatenate([[0], np.cumsum(self._read_counts)[:-1]]))
        noise = np.exp(2 * (widest + np.log(sums) / _SHARPNESS) + np.log(powers) - self._signal)
        narrower = np.bincount(self._source, np.repeat(noise / sums, self._source_counts) * shares, len(logs))
        louder = np.bincount(self._read, np.repeat(noise / powers, self._read_counts) * power, len(logs))
        return np.asarray(2 * (louder - narrower))


def _signal(layer: Reading) -> float:
    ranges = np.zeros(1 + max(layer.source.max(), layer.read.max()))
    np.maximum.at(ranges, layer.source, layer.ranges)
    return float(np.dot(layer.gains, ranges[layer.read] ** 2))
