"""Look-up tables over an ONNX graph: who makes a tensor, who reads it, what is constant, of what type and shape."""

from __future__ import annotations

from collections.abc import Container, Sequence

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from jetseg.onnx.node import constant_value, node_title, tensors_read
from jetseg.onnx.type_inference import Shape, infer_types


class GraphError(RuntimeError):
    """A rewrite would break the graph, or has broken it: a mistake in jetseg, not in the file."""


class GraphLookup:
    """An ONNX graph to look things up in; `jetseg.onnx.graph.Graph` is one that can be changed as well.

    Attributes:
        model: The ONNX model.
        weights: Initializers by name.
        constants: Initializers and the values of constant nodes, by name.
        producer: Node that makes a tensor, by the tensor's name.
        consumers: Nodes that read a tensor, by the tensor's name: as often as they read it, branches within included.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.weights: dict[str, onnx.TensorProto] = {tensor.name: tensor for tensor in model.graph.initializer}
        self.constants = dict(self.weights)
        self.producer: dict[str, onnx.NodeProto] = {}
        self.consumers: dict[str, list[onnx.NodeProto]] = _Consumers()
        self._nodes: list[onnx.NodeProto] = []
        self._types: tuple[dict[str, int], dict[str, Shape]] | None = None
        for node in model.graph.node:
            self._enter(len(self._nodes), node)

    @property
    def nodes(self) -> tuple[onnx.NodeProto, ...]:
        """The nodes as they are now, in the order in which they run."""
        return tuple(self._nodes)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the graph's inputs; initializers that are listed among them do not count."""
        return tuple(value.name for value in self.model.graph.input if value.name not in self.weights)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the graph's outputs."""
        return tuple(value.name for value in self.model.graph.output)

    @property
    def opset(self) -> int:
        """Version of ONNX's own operators; 0 if none is given."""
        return next((entry.version for entry in self.model.opset_import if entry.domain in ("", "ai.onnx")), 0)

    @property
    def types(self) -> dict[str, int]:
        """ONNX data types of inputs and activations, as far as they can be inferred."""
        return self._inferred()[0]

    @property
    def shapes(self) -> dict[str, Shape]:
        """Shapes of all tensors, as far as they can be inferred; None stands for any size."""
        return self._inferred()[1]

    def float_tensors(self) -> frozenset[str]:
        """Returns the activations that hold float values, graph inputs included."""
        return frozenset(name for name, kind in self.types.items() if kind == onnx.TensorProto.FLOAT)

    def weight(self, name: str) -> npt.NDArray[np.float32]:
        """Returns the values of an initializer or a constant node."""
        return np.asarray(numpy_helper.to_array(self.constants[name]))

    def readers(self, name: str) -> tuple[onnx.NodeProto, ...]:
        """Returns the nodes that read a tensor, each once, in graph order."""
        return tuple({id(node): node for node in self.consumers[name]}.values())

    def only_consumer(self, name: str) -> onnx.NodeProto | None:
        """Returns the one node that reads a tensor, or None if there are several or it is an output."""
        consumers = self.consumers[name]
        return consumers[0] if len(consumers) == 1 and name not in self.outputs else None

    def owns(self, node: onnx.NodeProto) -> bool:
        """Tells whether all that a node reads besides its first input are initializers that no other node reads."""
        names = filter(None, node.input[1:])
        return all(name in self.weights and len(self.consumers[name]) == 1 for name in names)

    def origin(self, name: str, through: Container[str]) -> str:
        """Follows a tensor up through the first inputs of some operators."""
        node = self.producer.get(name)
        while node is not None and node.op_type in through and node.input:
            name = node.input[0]
            node = self.producer.get(name)
        return name

    def needed_by(self, *outputs: str) -> tuple[onnx.NodeProto, ...]:
        """Returns the nodes that some tensors depend on, in graph order."""
        wanted, kept = set(outputs), []
        for node in reversed(self._nodes):
            if wanted.intersection(node.output):
                wanted.update(tensors_read(node))
                kept.append(node)
        return tuple(kept[::-1])

    def free_name(self, name: str) -> str:
        """Returns a name that no tensor has: the one given, if it is free."""
        found, count = name, 1
        while self._knows(found):
            found, count = f"{name}.{count}", count + 1
        return found

    def part(
        self,
        nodes: Sequence[onnx.NodeProto],
        inputs: Sequence[onnx.ValueInfoProto],
        outputs: Sequence[onnx.ValueInfoProto],
    ) -> onnx.ModelProto:
        """Returns a model of some of the nodes, with the weights that they read."""
        names = dict.fromkeys(name for node in nodes for name in tensors_read(node) if name in self.weights)
        return helper.make_model(
            helper.make_graph(nodes, "part", inputs, outputs, [self.weights[name] for name in names]),
            opset_imports=self.model.opset_import,
            ir_version=self.model.ir_version,
            functions=self.model.functions,
        )

    def check(self) -> None:
        """Checks that each node reads what is made before it, and that no tensor is made twice.

        Raises:
            GraphError: It is not so.
        """
        names = [*(tensor.name for tensor in self.model.graph.initializer), *self.inputs]
        made = {"", *names, *self._sparse_weights()}
        if len(set(names)) != len(names):
            raise GraphError(f"{next(name for name in names if names.count(name) > 1)} is given twice.")
        for node in self._nodes:
            missing = [name for name in tensors_read(node) if name not in made]
            if missing:
                raise GraphError(f"Node {node_title(node)} reads {missing[0]}, which nothing before it makes.")
            for name in filter(None, node.output):
                if name in made:
                    raise GraphError(f"Node {node_title(node)} makes {name}, which is there already.")
                made.add(name)
        unmade = [name for name in self.outputs if name not in made]
        if unmade:
            raise GraphError(f"Nothing makes the output {unmade[0]}.")

    def _inferred(self) -> tuple[dict[str, int], dict[str, Shape]]:
        if self._types is None:
            self._types = infer_types(self.model)
        return self._types

    def _enter(self, position: int, node: onnx.NodeProto) -> None:
        """Takes up a node of the model in the tables."""
        self._nodes.insert(position, node)
        self.producer.update((name, node) for name in node.output if name)
        value = constant_value(node)
        if value is not None:
            self.constants[node.output[0]] = value
        self._read(node)

    def _leave(self, node: onnx.NodeProto) -> None:
        """Takes a node out of the model and of the tables."""
        position = self._position(node)
        self._unread(node)
        for name in node.output:
            self.producer.pop(name, None)
            if name not in self.weights:
                self.constants.pop(name, None)
        del self._nodes[position], self.model.graph.node[position]
        self._types = None

    def _read(self, node: onnx.NodeProto) -> None:
        for name in tensors_read(node):
            readers = self.consumers.setdefault(name, [])
            readers.append(node)
            if len(readers) > 1 and node is not self._nodes[-1]:
                readers.sort(key=self._position)

    def _unread(self, node: onnx.NodeProto) -> None:
        for name in set(tensors_read(node)):
            left = [reader for reader in self.consumers[name] if reader is not node]
            if left:
                self.consumers[name] = left
            else:
                del self.consumers[name]

    def _position(self, node: onnx.NodeProto) -> int:
        try:
            return list(map(id, self._nodes)).index(id(node))  # nodes are not compared by what they say
        except ValueError:
            raise GraphError(f"Node {node_title(node)} is no node of this graph.") from None

    def _knows(self, name: str) -> bool:
        return name in self.producer or name in self.weights or name in self.inputs or name in self._sparse_weights()

    def _sparse_weights(self) -> set[str]:
        return {tensor.values.name for tensor in self.model.graph.sparse_initializer}


class _Consumers(dict[str, list[onnx.NodeProto]]):
    def __missing__(self, _name: str) -> list[onnx.NodeProto]:
        return []
