"""Reads from an ONNX graph what training must know: needed nodes, trained weights, sound quantizers."""

from __future__ import annotations

import onnx
import torch
from torch import Tensor

from jetseg.compress.qat.node import Node, as_torch, parse_node
from jetseg.errors import ArtifactError

MIN_OPSET = 13
PAIR = ("QuantizeLinear", "DequantizeLinear")
_LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_PASSING = frozenset({*PAIR, "Identity"})
_AFTER_ARGMAX = frozenset({"Cast", "Squeeze", "Identity", "Reshape"})


def read_graph(graph: onnx.GraphProto) -> tuple[list[Node], dict[str, Tensor]]:
    """Returns the nodes and the constants of a graph; constant nodes are among the latter."""
    constants = {tensor.name: as_torch(tensor) for tensor in graph.initializer}
    nodes = []
    for node in map(parse_node, graph.node):
        value = next(iter(node.attributes.values()), None)
        if node.operator != "Constant":
            nodes.append(node)
        elif isinstance(value, Tensor | int | float | list):
            constants[node.outputs[0]] = value if isinstance(value, Tensor) else torch.tensor(value)
        else:
            raise ArtifactError(f"The constant {node.name} holds no numbers.", "Export the network again.")
    return nodes, constants


def check_opset(model: onnx.ModelProto) -> None:
    """Refuses graphs from before quantizers per channel.

    Raises:
        ArtifactError: The opset is older than 13.
    """
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if opset < MIN_OPSET:
        raise ArtifactError(
            f"The network uses opset {opset}; training needs {MIN_OPSET} or later.",
            f"Export it again with opset {MIN_OPSET} or later.",
        )


def logits_name(model: onnx.ModelProto, output: str) -> str:
    """Returns the tensor whose largest channel an output names; the output itself if it is no class map."""
    producer = {name: node for node in model.graph.node for name in node.output}
    node = producer.get(output)
    while node is not None and node.op_type in _AFTER_ARGMAX:
        node = producer.get(node.input[0])
    return str(node.input[0]) if node is not None and node.op_type == "ArgMax" else output


def needed_nodes(nodes: list[Node], output: str) -> list[Node]:
    """Returns the nodes that an output depends on, in graph order."""
    wanted, kept = {output}, []
    for node in reversed(nodes):
        if wanted.intersection(node.outputs):
            wanted.update(node.inputs)
            kept.append(node)
    return kept[::-1]


def trained_names(nodes: list[Node], constants: dict[str, Tensor]) -> set[str]:
    """Returns the constants that are trained: weights and biases of matrix layers, slopes of PRelu."""
    producer = {name: node for node in nodes for name in node.outputs}
    found = set()
    for node in nodes:
        read = node.inputs[1:] if node.operator in _LAYERS else node.inputs[1:2] if node.operator == "PRelu" else ()
        for name in read:
            source = name
            while source in producer and producer[source].operator in _PASSING:
                source = producer[source].inputs[0]
            if source in constants and constants[source].is_floating_point():
                found.add(source)
    return found


def with_releases(nodes: list[Node], output: str) -> list[tuple[Node, tuple[str, ...]]]:
    """Pairs each node with the tensors that nobody reads after it, so that their memory can be freed."""
    last_reader: dict[str, int] = {}
    for index, node in enumerate(nodes):
        last_reader.update(dict.fromkeys([*node.inputs, *node.outputs], index))
    last_reader.pop(output, None)
    unused: list[list[str]] = [[] for _ in nodes]
    for name, index in last_reader.items():
        unused[index].append(name)
    return [(node, tuple(names)) for node, names in zip(nodes, unused, strict=True)]


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


def check_pair(node: Node, nodes: list[Node], constants: dict[str, Tensor]) -> None:
    """Checks that a DequantizeLinear undoes the QuantizeLinear before it.

    Raises:
        ArtifactError: It reads something else, or has another scale or axis.
    """
    first = next((other for other in nodes if node.inputs[0] in other.outputs), None)
    if first is None or first.operator != PAIR[0]:
        raise asymmetric(node, "it reads integers that no QuantizeLinear made")
    same_axis = first.get("axis", 1) == node.get("axis", 1)
    if not torch.equal(checked_scale(node, constants), checked_scale(first, constants)) or not same_axis:
        raise asymmetric(node, f"its scale is not that of {first.name}")


def asymmetric(node: Node, what: str) -> ArtifactError:
    """Returns the error for a quantizer that training does not understand."""
    return ArtifactError(
        f"The quantizer {node.name} ({node.operator}) cannot be trained: {what}.",
        "Give a file with symmetric int8 pairs over float weights and activations.",
    )
