"""One graph over an ONNX model: who makes a tensor, who reads it, and rewrites that keep both right."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from jetseg.onnx.node import constant_value, node_title, tensors_read
from jetseg.onnx.type_inference import Shape, infer_types


class GraphError(RuntimeError):
    """A rewrite would break the graph, or has broken it: a mistake in jetseg, not in the file."""


class Graph:
    """An ONNX graph with look-up tables.

    Whoever changes a graph does so by the methods below. They keep the tables right, and raise `GraphError` before
    they leave a reader without its tensor or make a tensor twice. Nodes stay the same objects throughout.

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

    def copy(self) -> Graph:
        """Returns a graph of its own with the same content."""
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        return Graph(model)

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

    def origin(self, name: str, through: Container[str]) -> str:
        """Follows a tensor up through the first inputs of some operators."""
        node = self.producer.get(name)
        while node is not None and node.op_type in through and node.input:
            name = node.input[0]
            node = self.producer.get(name)
        return name

    def needed_by(self, output: str) -> tuple[onnx.NodeProto, ...]:
        """Returns the nodes that a tensor depends on, in graph order."""
        wanted, kept = {output}, []
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

    def set_weight(self, name: str, values: npt.NDArray[np.generic]) -> None:
        """Replaces the values of an initializer or a constant node, as float32."""
        if name not in self.constants:
            raise GraphError(f"{name} is no constant, so it cannot be set.")
        tensor = self.constants[name]
        tensor.CopyFrom(numpy_helper.from_array(np.asarray(values, dtype=np.float32), tensor.name))
        if name not in self.weights:
            node = self.producer[name]
            node.attribute[0].CopyFrom(helper.make_attribute("value", tensor))
            self.constants[name] = node.attribute[0].t
        self._types = None

    def add_initializer(self, name: str, values: npt.NDArray[np.generic]) -> str:
        """Adds a constant; returns its name."""
        self._refuse_known(name)
        self.model.graph.initializer.append(numpy_helper.from_array(values, name))
        self.weights[name] = self.constants[name] = self.model.graph.initializer[-1]
        return name

    def hold_constant(self, node: onnx.NodeProto) -> None:
        """Turns a constant node into an initializer of the same name."""
        name = node.output[0]
        tensor = onnx.TensorProto()
        tensor.CopyFrom(self.constants[name])
        tensor.name = name
        self._leave(node)
        self.model.graph.initializer.append(tensor)
        self.weights[name] = self.constants[name] = self.model.graph.initializer[-1]

    def insert_before(self, place: onnx.NodeProto, *nodes: onnx.NodeProto) -> onnx.NodeProto:
        """Puts copies of nodes before a node, in their order; they may read one another. Returns the last of them."""
        return self._insert(self._position(place), nodes)

    def insert_after(self, place: onnx.NodeProto | None, *nodes: onnx.NodeProto) -> onnx.NodeProto:
        """Puts copies of nodes after a node, or before all nodes; see `insert_before`."""
        return self._insert(0 if place is None else self._position(place) + 1, nodes)

    def interpose(self, node: onnx.NodeProto) -> None:
        """Puts a node between a tensor's producer and all that read the tensor, the network's end included.

        Args:
            node: Makes the tensor, and reads what its producer makes from now on: a new name.
        """
        name, inner = node.output[0], node.input[0]
        producer = self.producer.get(name)
        if producer is None:
            raise GraphError(f"{name} is made by no node, so nothing can stand behind its producer.")
        self._refuse_known(inner)
        self.producer[inner] = self.producer.pop(name)
        self._rename_output(producer, name, inner)
        self.insert_after(producer, node)

    def set_inputs(self, node: onnx.NodeProto, names: Iterable[str]) -> None:
        """Lets a node read other tensors; an empty name leaves an optional input out."""
        names = list(names)
        self._position(node)
        for name in names:
            self._require(name, node)
        self._unread(node)
        node.input[:] = names
        self._read(node)
        self._types = None

    def replace_input(self, node: onnx.NodeProto, old: str, new: str) -> None:
        """Lets a node read one tensor in place of another, wherever it does."""
        if old not in node.input:
            raise GraphError(f"Node {node_title(node)} does not read {old}.")
        self.set_inputs(node, [new if name == old else name for name in node.input])

    def remove_node(self, node: onnx.NodeProto, instead: str | None = None) -> None:
        """Removes a node.

        Args:
            node: The node.
            instead: The tensor that readers of its first output read from now on; needed where there are any.
        """
        first = node.output[0]
        kept = [name for name in node.output if name in self.outputs or (name != first and name in self.consumers)]
        if kept:
            raise GraphError(f"Node {node_title(node)} cannot be removed: {kept[0]} is still needed.")
        readers = self.readers(first)
        if readers and (instead is None or instead == first or any(first not in reader.input for reader in readers)):
            raise GraphError(f"Node {node_title(node)} cannot be removed: {first} is still read.")
        for reader in readers:
            self.replace_input(reader, first, str(instead))
        self._leave(node)

    def replace_node(self, node: onnx.NodeProto, other: onnx.NodeProto) -> None:
        """Puts another node in a node's place, which makes the same tensors."""
        if list(other.output) != list(node.output):
            raise GraphError(f"Node {node_title(other)} does not make what {node_title(node)} makes.")
        for name in tensors_read(other):
            self._require(name, other)
        position = self._position(node)
        self._leave(node)
        self._insert(position, [other])

    def absorb(self, node: onnx.NodeProto, reader: onnx.NodeProto) -> None:
        """Removes the only reader of a node's only output; the node makes the reader's output from now on."""
        alone = len(node.output) == len(reader.output) == 1 and self.only_consumer(node.output[0]) is reader
        if not alone:
            raise GraphError(
                f"Node {node_title(node)} cannot do the work of {node_title(reader)}, which is not all that reads it."
            )
        del self.producer[node.output[0]]
        self._leave(reader)
        node.output[0] = reader.output[0]
        self.producer[node.output[0]] = node

    def drop_outputs(self, node: onnx.NodeProto, count: int) -> None:
        """Leaves out all but the first outputs of a node, which nothing may read."""
        for name in node.output[count:]:
            if name in self.consumers or name in self.outputs:
                raise GraphError(f"Output {name} of node {node_title(node)} is still needed.")
            self.producer.pop(name, None)
        del node.output[count:]
        self._types = None

    def rename(self, old: str, new: str) -> None:
        """Renames an activation or initializer wherever it is made and read; the network's ends keep their names."""
        if old in self.outputs or old in self.inputs or not self._knows(old):
            raise GraphError(f"{old} is no inner tensor, so it cannot be renamed.")
        self._refuse_known(new)
        if old in self.constants:
            self.constants[new] = self.constants.pop(old)
        if old in self.weights:
            self.weights[new] = self.weights.pop(old)
            self.weights[new].name = new
        else:
            self.producer[new] = self.producer.pop(old)
            self._rename_output(self.producer[new], old, new)
        for reader in self.readers(old):
            self.replace_input(reader, old, new)

    def drop_unused(self) -> None:
        """Removes initializers that no node reads."""
        initializers, needed = self.model.graph.initializer, {*self.consumers, *self.outputs}
        for position in reversed(range(len(initializers))):
            name = initializers[position].name
            if name not in needed:
                del initializers[position], self.weights[name], self.constants[name]

    def fix_input_size(self, name: str, sizes: Mapping[int, int]) -> None:
        """Gives an input's axes sizes, by axis, where the network leaves them open."""
        for value in self.model.graph.input:
            if value.name == name:
                for axis, dimension in enumerate(value.type.tensor_type.shape.dim):
                    if axis in sizes and dimension.dim_value <= 0:
                        dimension.dim_value = sizes[axis]
        self._types = None

    def forget_types(self) -> None:
        """Drops the types and shapes that the file notes of activations, where a rewrite has changed them."""
        del self.model.graph.value_info[:]
        self._types = None

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

    def _insert(self, position: int, nodes: Sequence[onnx.NodeProto]) -> onnx.NodeProto:
        made: set[str] = set()
        for node in nodes:
            for name in tensors_read(node):
                if name not in made:
                    self._require(name, node)
            for name in filter(None, node.output):
                if name in made:
                    raise GraphError(f"Node {node_title(node)} makes {name}, which is there already.")
                self._refuse_known(name)
                made.add(name)
        for place, node in enumerate(nodes, position):
            self.model.graph.node.insert(place, node)
            self._enter(place, self.model.graph.node[place])
        self._types = None
        return self._nodes[position + len(nodes) - 1]

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
                places = {id(other): place for place, other in enumerate(self._nodes)}
                readers.sort(key=lambda reader: places[id(reader)])

    def _unread(self, node: onnx.NodeProto) -> None:
        for name in set(tensors_read(node)):
            left = [reader for reader in self.consumers[name] if reader is not node]
            if left:
                self.consumers[name] = left
            else:
                del self.consumers[name]

    def _rename_output(self, node: onnx.NodeProto, old: str, new: str) -> None:
        node.output[list(node.output).index(old)] = new
        self._types = None

    def _position(self, node: onnx.NodeProto) -> int:
        for position, other in enumerate(self._nodes):
            if other is node:
                return position
        raise GraphError(f"Node {node_title(node)} is no node of this graph.")

    def _knows(self, name: str) -> bool:
        return name in self.producer or name in self.weights or name in self.inputs or name in self._sparse_weights()

    def _require(self, name: str, node: onnx.NodeProto) -> None:
        if name and not self._knows(name):
            raise GraphError(f"Node {node_title(node)} cannot read {name}: nothing makes it.")

    def _refuse_known(self, name: str) -> None:
        if self._knows(name):
            raise GraphError(f"The graph has a tensor {name} already.")

    def _sparse_weights(self) -> set[str]:
        return {tensor.values.name for tensor in self.model.graph.sparse_initializer}


class _Consumers(dict[str, list[onnx.NodeProto]]):
    def __missing__(self, _name: str) -> list[onnx.NodeProto]:
        return []
