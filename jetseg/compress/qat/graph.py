"""Reads from an ONNX graph what training must know: trained weights, sound quantizers, when memory is free."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from jetseg.compress.qat.node import Node, as_torch, parse_node
from jetseg.errors import ArtifactError
from jetseg.onnx.float_graph import MIN_OPSET
from jetseg.onnx.graph import Graph
from jetseg.onnx.quantizers import DEQUANTIZE, QUANTIZE, quantizer_of
from jetseg.onnx.trainable import TRAINABLE_OPERATORS, untrainable

PAIR = (QUANTIZE, DEQUANTIZE)
_TRAINED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "LayerNormalization", "PRelu"})
_PASSING = frozenset({*PAIR, "Identity", "Transpose"})
_AFTER_DECISION = frozenset({"Cast", "Squeeze", "Identity", "Reshape"})


def read_graph(graph: Graph, outputs: Sequence[str]) -> tuple[list[Node], dict[str, Tensor]]:
    """Returns the nodes that some outputs depend on, and the constants; constant nodes are among the latter.

    Raises:
        ArtifactError: A constant holds no numbers.
    """
    nodes = []
    for node in graph.needed_by(*outputs):
        if node.op_type != "Constant":
            nodes.append(parse_node(node))
        elif node.output[0] not in graph.constants:
            raise ArtifactError(f"The constant {node.name} holds no numbers.", "Export the network again.")
    return nodes, {name: as_torch(tensor) for name, tensor in graph.constants.items()}


def check_opset(graph: Graph) -> None:
    """Refuses graphs from before quantizers per channel.

    Raises:
        ArtifactError: The opset is older than 13.
    """
    if graph.opset < MIN_OPSET:
        raise ArtifactError(
            f"The network uses opset {graph.opset}; training needs {MIN_OPSET} or later.",
            f"Export it again with opset {MIN_OPSET} or later.",
        )


def logits_name(graph: Graph, output: str) -> str:
    """Returns the tensor whose largest channel an output names, or which it compares with a threshold.

    The output itself if it is no class map.
    """
    node = graph.producer.get(graph.origin(output, _AFTER_DECISION))
    return str(node.input[0]) if node is not None and node.op_type in ("ArgMax", "Greater") else output


def trained_names(graph: Graph, nodes: list[Node], constants: dict[str, Tensor]) -> set[str]:
    """Returns the constants that are trained.

    They are weights and biases of matrix layers (that of a MatMul is added behind it) and of layer normalizations, and
    slopes of PRelu.
    """
    found = set[str]()
    for node in nodes:
        if node.operator in _TRAINED or (node.operator == "Add" and _adds_bias(graph, node)):
            found.update(graph.origin(name, _PASSING) for name in node.inputs)
    return {name for name in found if name in constants and constants[name].is_floating_point()}


def _adds_bias(graph: Graph, node: Node) -> bool:
    """Tells whether what is added belongs to a linear layer, and not to a product of two activations: no mask."""
    makers = [graph.producer.get(name) for name in node.inputs]
    products = [maker for maker in makers if maker is not None and maker.op_type == "MatMul"]
    return any(graph.origin(name, _PASSING) in graph.constants for maker in products for name in maker.input)


def with_releases(nodes: list[Node], outputs: Sequence[str]) -> list[tuple[Node, tuple[str, ...]]]:
    """Pairs each node with the tensors that nobody reads after it, so that their memory can be freed."""
    last_reader: dict[str, int] = {}
    for index, node in enumerate(nodes):
        last_reader.update(dict.fromkeys([*node.inputs, *node.outputs], index))
    for output in outputs:
        last_reader.pop(output, None)
    unused: list[list[str]] = [[] for _ in nodes]
    for name, index in last_reader.items():
        unused[index].append(name)
    return [(node, tuple(names)) for node, names in zip(nodes, unused, strict=True)]


def check_trainable(graph: Graph, node: Node) -> None:
    """Refuses operators, and forms of them, that training cannot compute.

    Raises:
        ArtifactError: It is such a one.
    """
    reason = untrainable(graph, graph.producer[node.outputs[0]])
    if reason is not None:
        fix = (
            "Export the network with a simpler form of this operator."
            if node.operator in TRAINABLE_OPERATORS
            else f"Only these operators can: {', '.join(sorted(TRAINABLE_OPERATORS.union(PAIR)))}."
        )
        raise ArtifactError(f"Node {node.name} ({node.operator}) is {reason}.", fix)


def checked_scale(node: Node, constants: dict[str, Tensor]) -> Tensor:
    """Returns the scale of a QuantizeLinear or DequantizeLinear.

    Raises:
        ArtifactError: The pair is not symmetric int8 with positive constant scales.
    """
    scale = constants.get(node.inputs[1])
    zero_point = constants.get(node.inputs[2]) if len(node.inputs) > 2 else None
    if zero_point is None or zero_point.dtype != torch.int8 or bool(zero_point.any()):
        raise asymmetric(node, "its zero point is not int8 zero")
    if scale is None or scale.dtype != torch.float32 or not bool(((scale > 0) & scale.isfinite()).all()):
        raise asymmetric(node, "its scale is not a positive float32 constant")
    return scale


def check_pair(node: Node, graph: Graph, constants: dict[str, Tensor]) -> None:
    """Checks that a DequantizeLinear undoes the QuantizeLinear before it.

    Raises:
        ArtifactError: It reads something else, or has another scale or axis.
    """
    quantizer = quantizer_of(graph, node.inputs[0])
    if quantizer is None:
        raise asymmetric(node, "it reads integers that no QuantizeLinear made")
    first = parse_node(quantizer)
    same_axis = first.get("axis", 1) == node.get("axis", 1)
    if not torch.equal(checked_scale(node, constants), checked_scale(first, constants)) or not same_axis:
        raise asymmetric(node, f"its scale is not that of {first.name}")


def asymmetric(node: Node, what: str) -> ArtifactError:
    """Returns the error for a quantizer that training does not understand."""
    return ArtifactError(
        f"The quantizer {node.name} ({node.operator}) cannot be trained: {what}.",
        "Give a file with symmetric int8 pairs over float weights and activations.",
    )
