"""Where quantizers stand: it decides accuracy and speed more than how ranges are chosen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import onnx

from jetseg.errors import ConfigError
from jetseg.onnx.graph import Graph
from jetseg.onnx.node import attribute_int, attribute_ints
from jetseg.quantization.config import Policy
from jetseg.quantization.qdq.kernels import (
    POINTWISE,
    float_operators,
    in_one_kernel,
    is_activation_product,
    is_matrix_layer,
    made_of,
)
from jetseg.quantization.ranges import TensorRange

FUSED_ACTIVATIONS = frozenset({"Relu", "Clip"})
"""Activations that a quantizer after them absorbs: clipping at its bounds does the same work."""
SAME_RANGE = frozenset({"MaxPool", "Resize", "Upsample", "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze"})
"""Operators whose output values lie within their input's range: they share its quantizer."""
INTEGER_OPERATORS = frozenset(
    {"Add", "Mul", "Concat", "AveragePool", "GlobalAveragePool"} | {"LeakyRelu", "Sigmoid", "HardSigmoid", "HardSwish"}
)
"""Operators that ONNX Runtime runs on 8-bit integers when all they touch is quantized; see `runs_on_integers`."""
BETWEEN_ZERO_AND_ONE = frozenset({"Sigmoid", "HardSigmoid"})
"""Operators whose outputs have a known range, which need not be observed."""
FLOAT_WRITERS = frozenset({"MatMul"})
"""Layers that write float where others write integers: ONNX Runtime has a kernel for that, and no fast one without."""
MOVERS = frozenset({"Concat", "MaxPool", "AveragePool", "GlobalAveragePool", "ReduceMean", "Resize"})
"""Other operators that read tensors from memory, where 8 bits are a quarter of the traffic."""
_LEAST_SHARE = 1 / 1.5
"""A concatenation's input takes over the scale of the output if its own range is at least this share of it."""


@dataclass(frozen=True)
class Placement:
    """The quantizers of a network.

    Attributes:
        activations: Activation tensor to quantize -> tensor whose range it uses (mostly itself).
        weights: Initializer to quantize per output channel -> axis of the output channels.
        integer_nodes: Nodes that run on integers, each by its first output; what else there is runs in float.
        integer_outputs: Whether these nodes, but for `FLOAT_WRITERS`, also write integers, so that all who read them
            read rounded values.
        shares: Activations whose range is from 0 to 1, whatever was observed.
    """

    activations: dict[str, str]
    weights: dict[str, int]
    integer_nodes: frozenset[str]
    integer_outputs: bool = False
    shares: frozenset[str] = frozenset()

    def reads_rounded(self, graph: Graph, node: onnx.NodeProto, name: str) -> bool:
        """Tells whether a node reads the quantized values of an activation; in float it reads them unrounded."""
        if name not in self.activations:
            return False
        producer = graph.producer.get(name)
        written = producer is not None and self.writes_integers(producer)
        return written or node.output[0] in self.integer_nodes

    def writes_integers(self, node: onnx.NodeProto) -> bool:
        """Tells whether a node writes integers, so that all who read them read rounded values."""
        return self.integer_outputs and node.op_type not in FLOAT_WRITERS and node.output[0] in self.integer_nodes


def observed_tensors(graph: Graph) -> tuple[str, ...]:
    """Returns the inputs and the activations that some placement may quantize, in graph order, one of each range."""
    names: dict[str, None] = dict.fromkeys(graph.inputs)
    for node in graph.nodes:
        if is_matrix_layer(graph, node):
            names[node.input[0]] = None
            names[absorbed_output(graph, node)] = None
        elif is_activation_product(graph, node):
            names.update(dict.fromkeys(node.input))
        elif runs_on_integers(graph, node):
            activations = [name for name in node.input if name and name not in graph.weights]
            names.update(dict.fromkeys([*activations, absorbed_output(graph, node)]))
    names.update(dict.fromkeys(_stored_tensors(graph)))
    floats = graph.float_tensors()
    return tuple(dict.fromkeys(source for name in names if (source := range_source(graph, name)) in floats))


def matrix_layers(graph: Graph) -> tuple[str, ...]:
    """Returns the convolutions and matrix products with constant weights, each by its output tensor."""
    return tuple(node.output[0] for node in graph.nodes if is_matrix_layer(graph, node))


def check_layers(known: Iterable[str], names: frozenset[str]) -> None:
    """Refuses names that are not among the layers of the network.

    Raises:
        ConfigError: A name is unknown.
    """
    unknown = sorted(names.difference(known))
    if unknown:
        raise ConfigError(f"The network has no layer {', '.join(unknown)}.", "Name layers by their output tensors.")


def place_symmetric(
    graph: Graph,
    policy: Policy,
    tensors: Mapping[str, TensorRange],
    keep_float: frozenset[str] = frozenset(),
) -> Placement:
    """Places quantizers for backends that fuse what stands around a matrix layer, as TensorRT does.

    Args:
        graph: The float network.
        policy: "conv-inputs" quantizes only what convolutions and matrix products read. "full" also quantizes what
            additions, concatenations, poolings and resizings read from memory; nothing between a layer, its batch
            norm and its activation, and of the two operands of a residual addition not the one that the
            convolution before it writes, because these are one kernel; nothing either whose result is for norms,
            softmax and attention, which are computed in float.
        tensors: Ranges by activation; they decide which inputs of a concatenation share a scale.
        keep_float: Layers and other operators, by output, that read unrounded values and keep their float weights.
    """
    placement = _place_everywhere(graph, policy, tensors)
    if not keep_float:
        return placement
    nodes = placement.integer_nodes - keep_float
    read = {name for node in graph.nodes if node.output[0] in nodes for name in node.input}
    activations = {name: source for name, source in placement.activations.items() if name in read}
    return Placement(activations, placement.weights, nodes)


def _place_everywhere(graph: Graph, policy: Policy, tensors: Mapping[str, TensorRange]) -> Placement:
    layers = [node for node in graph.nodes if is_matrix_layer(graph, node)]
    weights = {node.input[1]: output_axis(node) for node in layers}
    if policy == "conv-inputs":
        activations = {node.input[0]: range_source(graph, node.input[0]) for node in layers}
        return Placement(activations, weights, frozenset(node.output[0] for node in layers))
    activations = _share_scales(graph, _stored_tensors(graph), tensors)
    return Placement(activations, weights, frozenset(node.output[0] for node in graph.nodes))


def output_axis(node: onnx.NodeProto) -> int:
    """Returns the axis of a layer's weight that counts its output channels (per group for ConvTranspose)."""
    if node.op_type == "Gemm":
        return 0 if attribute_int(node, "transB", 0) else 1
    return 0 if node.op_type == "Conv" else 1


def runs_on_integers(graph: Graph, node: onnx.NodeProto) -> bool:
    """Tells whether ONNX Runtime has an integer kernel for a node that is no layer.

    A mean has one over height and width of an image, which is what a `GlobalAveragePool` computes; a product and a sum
    have one of two activations.
    """
    if node.op_type == "ReduceMean":
        return _pools_globally(graph, node)
    return node.op_type in INTEGER_OPERATORS and not any(name in graph.constants for name in node.input if name)


def _pools_globally(graph: Graph, node: onnx.NodeProto) -> bool:
    """Tells whether a mean over axes is one over height and width, which stay as axes of size 1."""
    if len(graph.shapes.get(node.input[0]) or ()) != 4 or not attribute_int(node, "keepdims", 1):
        return False
    axes = attribute_ints(node, "axes")
    if len(node.input) > 1 and node.input[1] in graph.constants:
        axes = tuple(int(axis) for axis in graph.weight(node.input[1]))
    return sorted(axis % 4 for axis in axes) == [2, 3]


def absorbed_output(graph: Graph, node: onnx.NodeProto) -> str:
    """Returns the output of a node, or that of the activation that alone reads it and fuses with it."""
    reader = graph.only_consumer(node.output[0])
    if reader is not None and reader.op_type in FUSED_ACTIVATIONS:
        return str(reader.output[0])
    return str(node.output[0])


def range_source(graph: Graph, name: str) -> str:
    """Follows a tensor up through operators that keep its range."""
    return graph.origin(name, SAME_RANGE)


def _stored_tensors(graph: Graph) -> tuple[str, ...]:
    """Returns the activations that go through memory to a reader that can take 8 bits, in graph order."""
    floats, fused, kept_exact = graph.float_tensors(), dict[str, str](), float_operators(graph)
    stored: dict[str, None] = {}
    for node in graph.nodes:
        layer = is_matrix_layer(graph, node)
        if not layer and (node.op_type not in POINTWISE | MOVERS or node.output[0] in kept_exact):
            continue
        for name in dict.fromkeys(node.input[:1] if layer else node.input):
            if name not in floats or name in graph.weights or name in graph.outputs:
                continue
            if name in graph.inputs and node.op_type in POINTWISE:
                continue  # it comes in float, and is read once
            # of two operands that convolutions write, one is added within its kernel, the other is stored
            if node.op_type in POINTWISE and in_one_kernel(graph, name):
                other = fused.setdefault(node.output[0], name)
                if other == name or made_of(graph, name, other) or made_of(graph, other, name):
                    continue
            stored[name] = None
    return tuple(stored)


def _share_scales(graph: Graph, stored: tuple[str, ...], tensors: Mapping[str, TensorRange]) -> dict[str, str]:
    """Returns the tensor whose range each stored tensor uses.

    A concatenation on 8 bits is a copy if its inputs have the scale of its output; an input with a much smaller
    range keeps its own. The inputs are rounded already, so the output is not rounded again unless a layer reads it.
    """
    sources = {name: range_source(graph, name) for name in stored}

    def amax(name: str) -> float:
        entry = tensors.get(range_source(graph, name))
        return entry.amax if entry else 0.0

    for node in graph.nodes:
        output = node.output[0]
        if node.op_type != "Concat" or output not in sources:
            continue
        for name in node.input:
            own = sources.get(name) == range_source(graph, name)
            if own and amax(name) >= _LEAST_SHARE * amax(output):
                sources[name] = range_source(graph, output)
        if not any(is_matrix_layer(graph, reader) for reader in graph.consumers[output]):
            del sources[output]
    return sources
