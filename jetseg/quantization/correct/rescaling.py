"""Rescaling: where channels of far ranges are tied together, a multiplication gives them scales of their own."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import helper

from jetseg.onnx.graph import Graph
from jetseg.quantization.correct.channel_groups import Factors
from jetseg.quantization.correct.equalization import rescale_layer_
from jetseg.quantization.correct.equalization_factors import input_gains
from jetseg.quantization.qdq.kernels import is_matrix_layer
from jetseg.quantization.qdq.placement import absorbed_output, range_source

_LEAST_GAIN = 64.0
"""Times that the power of the noise must be larger with one scale: three bits, else a multiplication is too dear."""
_NARROWEST = 1e-4
"""Channels below this share of the widest are as good as dead; they are not blown up further."""


def rescale_(graph: Graph, magnitudes: Mapping[str, Factors]) -> int:
    """Evens the channels that convolutions write and read, and takes that back in float by a factor per channel.

    Equalization finds one factor for all tensors that an addition ties together. Where branches with ranges of their
    own are added one after the other and joined, no such factor suits all of them: in one tensor or the other most
    channels are a few steps of the common scale. A multiplication by constants behind a convolution, or before one,
    frees its tensor; it is computed in float, mostly together with the activation or addition beside it.

    Args:
        graph: The network; it is changed, but computes the same.
        magnitudes: Range of each channel that calibration saw, by activation: shape (channels,).

    Returns:
        Number of multiplications that were inserted.
    """
    layers = [node for node in graph.nodes if _is_convolution(graph, node)]
    known = dict(magnitudes)
    written = [node for node in layers if _free_written_(graph, node, known)]
    read = [name for name in dict.fromkeys(node.input[0] for node in layers) if _free_read_(graph, name, known)]
    return len(written) + len(read)


def _is_convolution(graph: Graph, node: onnx.NodeProto) -> bool:
    convolution = node.op_type in ("Conv", "ConvTranspose") and is_matrix_layer(graph, node)
    return convolution and graph.owns(node) and len(graph.weights[node.input[1]].dims) == 4


def _free_written_(graph: Graph, node: onnx.NodeProto, magnitudes: dict[str, Factors]) -> bool:
    """Evens what a convolution writes where others than convolutions read it; tells whether that was worth it."""
    name = absorbed_output(graph, node)
    readers = graph.readers(name)
    taken = [reader for reader in readers if _is_convolution(graph, reader) and reader.input[0] == name]
    passes = name == node.output[0] or graph.producer[name].op_type == "Relu"
    if name not in magnitudes or name in graph.outputs or not passes or len(taken) == len(readers):
        return False
    shares = _shares(magnitudes[name])
    if np.exp(-2 * np.log(shares).mean()) < _LEAST_GAIN:
        return False
    rescale_layer_(graph, node, shares, None)
    for reader in taken:
        rescale_layer_(graph, reader, None, shares)
    free = _multiply_(graph, name, shares)
    for reader in readers:
        if not any(reader is other for other in taken):
            graph.replace_input(reader, name, free)
    magnitudes[free], magnitudes[name] = magnitudes[name], magnitudes[name] / shares
    return True


def _free_read_(graph: Graph, name: str, magnitudes: Mapping[str, Factors]) -> bool:
    """Evens what convolutions read; tells whether that was worth it."""
    seen = magnitudes.get(range_source(graph, name))
    readers = [node for node in graph.readers(name) if _is_convolution(graph, node) and node.input[0] == name]
    gains = [input_gains(graph, node) for node in readers]
    if seen is None or name in graph.inputs or any(len(own) != len(seen) for own in gains):
        return False
    shares = _shares(seen)
    if max((own.sum() / (own @ shares**2 + 1e-30) for own in gains), default=0.0) < _LEAST_GAIN:
        return False
    free = _multiply_(graph, name, 1 / shares)
    for reader in readers:
        rescale_layer_(graph, reader, None, shares)
        graph.replace_input(reader, name, free)
    return True


def _shares(ranges: Factors) -> Factors:
    """Returns the range of each channel as a share of the widest."""
    widest = float(ranges.max(initial=0.0))
    return np.clip(ranges / widest, _NARROWEST, 1.0) if widest else np.ones_like(ranges)


def _multiply_(graph: Graph, name: str, factors: Factors) -> str:
    """Puts a multiplication behind a tensor, which nothing reads yet; returns what it makes."""
    free = graph.free_name(f"{name}.rescaled")
    constant = graph.add_initializer(
        graph.free_name(f"{name}.factors"), factors.astype(np.float32).reshape(1, -1, 1, 1)
    )
    graph.insert_after(graph.producer[name], helper.make_node("Mul", [name, constant], [free]))
    return free
