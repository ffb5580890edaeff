"""One operator of an ONNX graph, with its attributes as plain values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from jetseg.errors import ArtifactError
from jetseg.onnx.node import attributes

Value = Tensor | None
"""An input of an operator; None where an optional one is left out."""
Result = Tensor | tuple[Tensor, ...]
Operator = Callable[["Node", Sequence[Value]], Result]
"""Computes the outputs of a node from its inputs."""


@dataclass(frozen=True)
class Node:
    """One operator.

    Attributes:
        operator: Its ONNX name, as in "Conv".
        name: Name of the node, or of its first output if it has none.
        inputs: Tensor names; empty where an optional input is left out.
        outputs: Tensor names.
        attributes: Numbers, strings, tensors, and lists of them.
    """

    operator: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any] = field(default_factory=dict)

    def get(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - attributes have many types
        """Returns an attribute, or the default."""
        return self.attributes.get(name, default)


def parse_node(node: onnx.NodeProto) -> Node:
    """Reads a node."""
    values = {
        name: as_torch(value) if isinstance(value, onnx.TensorProto) else value
        for name, value in attributes(node).items()
    }
    return Node(node.op_type, node.name or node.output[0], tuple(node.input), tuple(node.output), values)


def as_torch(tensor: onnx.TensorProto) -> Tensor:
    """Returns the values of an ONNX tensor as a torch tensor of its own."""
    return torch.from_numpy(numpy_helper.to_array(tensor).copy())


def integers(value: Tensor) -> list[int]:
    """Returns the elements of an integer tensor."""
    return [int(element) for element in value.flatten().tolist()]


def required(node: Node, inputs: Sequence[Value], index: int) -> Tensor:
    """Returns an input.

    Raises:
        ArtifactError: It is left out.
    """
    value = optional(inputs, index)
    if value is None:
        raise ArtifactError(f"Node {node.name} ({node.operator}) lacks its input {index}.", "Export the network again.")
    return value


def optional(inputs: Sequence[Value], index: int) -> Value:
    """Returns an input, or None if it is left out."""
    return inputs[index] if index < len(inputs) else None


def unsupported(node: Node, what: str) -> ArtifactError:
    """Returns the error for a form of an operator that torch cannot compute the same way."""
    return ArtifactError(
        f"Node {node.name} ({node.operator}) uses a form that cannot be trained: {what}.",
        "Export the network with a simpler form of this operator.",
    )
