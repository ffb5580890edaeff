"""An operator as a network uses it: its attributes, and what is known of what it reads."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from jetseg.onnx.graph import Graph
from jetseg.onnx.node import attributes


class Use:
    """An operator as a network uses it.

    Args:
        graph: The network.
        node: The operator.
    """

    def __init__(self, graph: Graph, node: onnx.NodeProto) -> None:
        self.graph = graph
        self.node = node
        self._attributes = attributes(node)

    def get(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - attributes have many types
        """Returns an attribute, or what the caller takes for it where it is not given."""
        return self._attributes.get(name, default)

    def has(self, name: str) -> bool:
        """Tells whether an attribute is given."""
        return name in self._attributes

    def any_not_one(self, name: str) -> bool:
        """Tells whether an attribute has another number than 1 for some axis."""
        return any(value != 1 for value in self.get(name, ()))

    def input(self, index: int) -> str:
        """Returns an input's name; empty if it is left out."""
        return str(self.node.input[index]) if index < len(self.node.input) else ""

    def kind(self, index: int = 0) -> int | None:
        """Returns an input's data type, where it is known."""
        return self.graph.types.get(self.input(index))

    def rank(self, index: int = 0) -> int | None:
        """Returns an input's number of axes, where it is known."""
        shape = self.graph.shapes.get(self.input(index))
        return None if shape is None else len(shape)

    def value(self, index: int) -> npt.NDArray[np.generic] | None:
        """Returns an input that is constant."""
        tensor = self.graph.constants.get(self.input(index))
        return None if tensor is None else numpy_helper.to_array(tensor)

    def from_data(self, index: int) -> bool:
        """Tells whether an input is computed from the network's input, and not only from its shape."""
        waiting, seen = [self.input(index)], set[str]()
        while waiting:
            name = waiting.pop()
            if name in self.graph.inputs:
                return True
            producer = self.graph.producer.get(name)
            if name and producer is not None and name not in seen and producer.op_type not in ("Shape", "Size"):
                waiting.extend(producer.input)
            seen.add(name)
        return False

    def version(self) -> int:
        """Returns the version of ONNX's operators."""
        return self.graph.opset

    def outputs(self) -> int:
        """Counts the outputs that have a name."""
        return sum(bool(name) for name in self.node.output)
