"""Cross-layer equalization: channels share a scale at the least loss, the network computes the same."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx

from jetseg.onnx.channel_axes import channel_axes
from jetseg.onnx.graph import Graph
from jetseg.onnx.node import attribute_float, attribute_int
from jetseg.quantization.correct.channel_groups import (
    ChannelGroups,
    Factors,
    channel_groups,
    constant_term,
    writes_factors,
)
from jetseg.quantization.correct.equalization_factors import balance, readings

EVEN = 0.7
"""A strength between ranges as they are, 0, and all the same, 1; where the search for factors begins, too."""
_NARROWEST = 1e-6
"""Channels below this share of the widest are as good as dead; they are not blown up further."""


def equalize_(
    graph: Graph,
    magnitudes: Mapping[str, Factors],
    channels: Mapping[str, int],
    strength: float | None = None,
    *,
    norms: bool = False,
) -> int:
    """Divides each free channel by a factor and multiplies the weights that read it.

    Extends M. Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction" (2019) from
    pairs of layers to everything that additions, concatenations, poolings and (P)ReLU tie together, and looks at
    the activations that calibration saw. A layer norm gives its channels factors by its gain and shift (G. Xiao et al.,
    "SmoothQuant", 2022).

    Args:
        graph: The network; its weights are changed.
        magnitudes: Range of each channel that calibration saw, by activation: shape (channels,). Activations
            that are not quantized may be left out.
        channels: Number of channels of each activation.
        strength: 1 gives all channels of a group of tied tensors the same range, 0 changes nothing; by default the
            factors are those of `balance`.
        norms: Whether `balance` looks at what batch norms read as well.

    Returns:
        Number of factors that differ from 1.
    """
    groups = channel_groups(graph, channels)
    seen = np.zeros(groups.count)
    for name, values in magnitudes.items():
        if name in groups.of:
            np.maximum.at(seen, groups.of[name], values)
    by_group = _factors(groups, seen, EVEN if strength is None else strength)
    layers = readings(graph, groups, magnitudes, norms=norms)
    if strength is None and layers:
        by_group = balance(layers, groups, by_group)
    axes = channel_axes(graph)
    tied = [node for node in graph.nodes if node.output[0] in groups.of]
    writers = [node for node in tied if writes_factors(graph, node, axes)]
    terms = {term: node.output[0] for node in tied if (term := constant_term(graph, node, axes))}
    for node in writers:
        reads = groups.factors(node.input[0], by_group) if node.input[0] in groups.of else None
        rescale_layer_(graph, node, groups.factors(node.output[0], by_group), reads)
    for term, output in terms.items():
        own = groups.factors(output, by_group)
        graph.set_weight(term, graph.weight(term) / own.reshape(graph.weights[term].dims))
    return int(np.count_nonzero(by_group != 1.0))


def _factors(groups: ChannelGroups, seen: Factors, strength: float) -> Factors:
    """Returns the factor to divide each group by."""
    usable = ~groups.fixed & (seen > 0)
    by_group = np.ones(groups.count)
    if usable.any():
        by_group[usable] = np.clip(seen[usable], seen[usable].max() * _NARROWEST, None) ** strength
    return by_group


def rescale_layer_(graph: Graph, node: onnx.NodeProto, own: Factors | None, reads: Factors | None) -> None:
    """Lets a layer or norm divide each channel that it writes, and multiply each that it reads, by a factor.

    Args:
        graph: The network; the node's constants are changed.
        node: One of `SCALABLE_WRITERS` with constants of its own.
        own: Factor of each channel that it writes; None for none.
        reads: Factor of each channel that it reads; None for none.
    """
    if node.op_type == "BatchNormalization":
        scale, shift, mean, variance = (graph.weight(name).astype(np.float64) for name in node.input[1:5])
        own = np.ones(len(scale)) if own is None else own
        epsilon = attribute_float(node, "epsilon", 1e-5)
        gain = scale / np.sqrt(variance + epsilon)
        shift = (shift - mean * gain) / own
        gain = gain / own * (reads if reads is not None else 1.0)
        graph.set_weight(node.input[1], gain * np.sqrt(1.0 + epsilon))
        graph.set_weight(node.input[2], shift)
        graph.set_weight(node.input[3], np.zeros_like(mean))
        graph.set_weight(node.input[4], np.ones_like(variance))
        return
    weight = graph.weight(node.input[1]).astype(np.float64)
    if node.op_type == "LayerNormalization":
        weight = weight / (1.0 if own is None else own)
    elif node.op_type in ("MatMul", "Gemm"):
        turned = node.op_type == "Gemm" and attribute_int(node, "transB", 0)
        by_input = weight.T if turned else weight
        by_input = by_input / (1.0 if own is None else own) * (1.0 if reads is None else reads[:, None])
        weight = by_input.T if turned else by_input
    else:
        weight = _rescaled_kernel(node, weight, own, reads)
    graph.set_weight(node.input[1], weight)
    if own is not None and len(node.input) > 2 and node.input[2]:
        graph.set_weight(node.input[2], graph.weight(node.input[2]).astype(np.float64) / own)


def _rescaled_kernel(node: onnx.NodeProto, weight: Factors, own: Factors | None, reads: Factors | None) -> Factors:
    per_group = attribute_int(node, "group", 1)
    spatial = [1] * (weight.ndim - 2)
    if node.op_type == "Conv":
        if own is not None:
            weight = weight / own.reshape(-1, 1, *spatial)
        if reads is not None:
            rows = np.repeat(reads.reshape(per_group, -1), weight.shape[0] // per_group, axis=0)
            weight = weight * rows.reshape(weight.shape[0], weight.shape[1], *spatial)
    else:
        if reads is not None:
            weight = weight * reads.reshape(-1, 1, *spatial)
        if own is not None:
            columns = np.repeat(own.reshape(per_group, -1), weight.shape[0] // per_group, axis=0)
            weight = weight / columns.reshape(weight.shape[0], weight.shape[1], *spatial)
    return weight
