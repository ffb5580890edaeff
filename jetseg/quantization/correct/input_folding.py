"""Gives an image its pixels back: 8 bits hold them without an error, but not what normalization makes of them."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from jetseg.input_spec import InputSpec
from jetseg.onnx.graph import Graph
from jetseg.onnx.node import attribute_int
from jetseg.quantization.correct.activation_shift import absorb_shift_
from jetseg.quantization.ranges import TensorRange

RANGE = TensorRange(low=-128.0, high=127.0, amax=127.0, seen_low=-128.0, seen_high=127.0)
"""Range of pixels minus 128: one step is one gray level, for signed and for unsigned quantizers."""
_MIDDLE = 128.0
_MOST_OFF = 32.0
"""Gray levels that the border may see in place of the mean color; a normalization without a mean is farther off."""


def fold_input_(graph: Graph, spec: InputSpec, name: str) -> str | None:
    """Lets the first convolutions read pixels minus 128 in place of the normalized image.

    A normalized channel has only 256 values, but each channel has its own, so that a common scale rounds nearly all
    of them. One multiplication and one addition bring the pixels back, and the weights and the bias of the
    convolution take over the normalization. The zeros that it pads with then stand for gray instead of the mean color.

    Args:
        graph: The network; it is changed, but computes the same, the border apart.
        spec: How its input is normalized.
        name: The input that takes the image.

    Returns:
        The tensor of the pixels, whose range is `RANGE`; None if no convolution can read them.
    """
    gain = np.asarray(spec.std, np.float64) / spec.scale
    offset = np.asarray(spec.mean, np.float64) / spec.scale - _MIDDLE
    readers = [node for node in graph.readers(name) if _takes(graph, node, name)]
    if spec.kind != "normalized" or spec.layout != "nchw" or np.abs(offset).max() > _MOST_OFF or not readers:
        return None
    for node in readers:
        weight = graph.weight(node.input[1]).astype(np.float64)
        per_group = attribute_int(node, "group", 1)
        rows = np.repeat(gain.reshape(per_group, -1), weight.shape[0] // per_group, axis=0)
        graph.set_weight(node.input[1], weight / rows.reshape(*weight.shape[:2], 1, 1))
        absorb_shift_(graph, node, -offset)
    constants = [
        graph.add_initializer(graph.free_name(f"{name}.{key}"), values.astype(np.float32).reshape(1, -1, 1, 1))
        for key, values in (("gain", gain), ("offset", offset))
    ]
    scaled, pixels = (graph.free_name(f"{name}{end}") for end in (".scaled", ".pixels"))
    graph.insert_after(
        None,
        helper.make_node("Mul", [name, constants[0]], [scaled]),
        helper.make_node("Add", [scaled, constants[1]], [pixels]),
    )
    for node in readers:
        graph.replace_input(node, name, pixels)
    return pixels


def _takes(graph: Graph, node: onnx.NodeProto, name: str) -> bool:
    """Tells whether a node is a convolution of the image with constants of its own."""
    own = node.op_type == "Conv" and node.input[0] == name and graph.owns(node)
    return own and len(graph.weights[node.input[1]].dims) == 4
