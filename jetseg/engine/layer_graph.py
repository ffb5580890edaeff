"""Small ONNX networks that hold the layer to be timed, and little else."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from jetseg.input_spec import InputSpec
from jetseg.manifest import Manifest
from jetseg.onnx.layer_shape import LayerShape, Piece
from jetseg.output_spec import OutputSpec

_IMAGE_CHANNELS = (1, 3)
_EXIT_CHANNELS = 8


def ends_of(piece: Piece) -> tuple[Piece, ...]:
    """Returns pieces of which half the latency, added up, is what the ends of `piece` cost.

    Both ends of such a piece carry the same tensor: that before the first layer, or that behind the last one.
    """
    first, last = piece[0], piece[-1]
    if _is_end(piece):
        return ()
    ends = [_end(last.out_channels, *last.output_size)]
    if first.in_channels not in _IMAGE_CHANNELS:
        ends.append(_end(first.in_channels, first.height, first.width))
    return tuple(ends)


def piece_manifest(piece: Piece) -> Manifest:
    """Describes the network of a piece."""
    first = piece[0]
    color = {1: ("gray", 1), 3: ("rgb", 3)}[_image_channels(first)]
    spec = InputSpec(
        height=first.height, width=first.width, color=color[0], mean=(0.0,) * color[1], std=(1.0,) * color[1]
    )
    return Manifest(input=spec, outputs=(OutputSpec(classes=("none", "any"), activation="sigmoid"),))


def piece_model(piece: Piece) -> onnx.ModelProto:
    """Returns image -> 1x1 convolution -> the layers -> 1x1 convolution -> mean: one score, whatever the strides.

    Every convolution but the last has a bias and a ReLU. Weights are small random numbers.
    """
    first, last = piece[0], piece[-1]
    height, width = last.output_size
    chain = [*_entry(first), *(() if _is_end(piece) else piece)]
    chain += [
        LayerShape(last.out_channels, _EXIT_CHANNELS, height, width),
        LayerShape(_EXIT_CHANNELS, 1, height, width),
    ]
    rng = np.random.default_rng(0)
    nodes: list[onnx.NodeProto] = []
    weights: list[TensorProto] = []
    name = "image"
    for index, layer in enumerate(chain):
        values = (_weight(rng, layer), np.zeros(layer.out_channels, np.float32))
        weights += [numpy_helper.from_array(value, f"{kind}{index}") for kind, value in zip("wb", values, strict=True)]
        nodes.append(_node(layer, [name, f"w{index}", f"b{index}"], f"c{index}"))
        if index == len(chain) - 1:
            nodes.append(helper.make_node("GlobalAveragePool", [f"c{index}"], ["score"]))
        else:
            nodes.append(helper.make_node("Relu", [f"c{index}"], [f"r{index}"]))
        name = f"r{index}"
    image = helper.make_tensor_value_info(
        "image", TensorProto.FLOAT, (1, _image_channels(first), first.height, first.width)
    )
    score = helper.make_tensor_value_info("score", TensorProto.FLOAT, (1, 1, 1, 1))
    graph = helper.make_graph(nodes, "piece", [image], [score], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def _end(channels: int, height: int, width: int) -> Piece:
    """A piece that holds no layer: only the two ends around a tensor."""
    return (LayerShape(channels, channels, height, width, kernel=(0, 0)),)


def _is_end(piece: Piece) -> bool:
    return piece[0].kernel == (0, 0)


def _image_channels(first: LayerShape) -> int:
    return first.in_channels if first.in_channels in _IMAGE_CHANNELS and first.kernel != (0, 0) else 1


def _entry(first: LayerShape) -> Iterator[LayerShape]:
    """Yields the layer that makes the input, unless the image itself is it."""
    if first.in_channels not in _IMAGE_CHANNELS or first.kernel == (0, 0):
        yield LayerShape(1, first.in_channels, first.height, first.width)


def _weight(rng: np.random.Generator, layer: LayerShape) -> npt.NDArray[np.float32]:
    outer, inner = layer.out_channels, layer.in_channels // layer.groups
    if layer.transposed:
        outer, inner = layer.in_channels, layer.out_channels // layer.groups
    return rng.normal(0, 0.1, (outer, inner, *layer.kernel)).astype(np.float32)


def _node(layer: LayerShape, inputs: list[str], output: str) -> onnx.NodeProto:
    return helper.make_node(
        "ConvTranspose" if layer.transposed else "Conv",
        inputs,
        [output],
        kernel_shape=layer.kernel,
        strides=layer.stride,
        pads=[*layer.padding, *layer.padding],
        dilations=layer.dilation,
        group=layer.groups,
    )
