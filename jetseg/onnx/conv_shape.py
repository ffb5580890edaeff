"""What the latency of an ONNX layer depends on."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
from onnx import helper

from jetseg.onnx.graph import FloatGraph
from jetseg.onnx.layer_shape import LayerShape
from jetseg.onnx.layerwise import Tensor


def layer_shape(graph: FloatGraph, node: onnx.NodeProto, values: Mapping[str, Tensor]) -> LayerShape | None:
    """Returns the shape of a convolution, given the activations that it reads; None for any other operator."""
    if node.op_type not in ("Conv", "ConvTranspose") or node.input[1] not in graph.weights:
        return None
    found = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    dims, size = graph.weights[node.input[1]].dims, values[node.input[0]].shape
    if len(size) != 4 or found.get("auto_pad", b"NOTSET") not in (b"NOTSET", b""):
        return None
    groups, transposed = int(found.get("group", 1)), node.op_type == "ConvTranspose"
    return LayerShape(
        in_channels=size[1],
        out_channels=dims[1] * groups if transposed else dims[0],
        height=size[2],
        width=size[3],
        kernel=(dims[2], dims[3]),
        stride=_pair(found.get("strides", (1, 1))),
        padding=_pair(found.get("pads", (0, 0, 0, 0))),
        dilation=_pair(found.get("dilations", (1, 1))),
        groups=groups,
        transposed=transposed,
    )


def _pair(values: tuple[int, ...]) -> tuple[int, int]:
    return int(values[0]), int(values[1])
