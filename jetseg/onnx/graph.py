"""One graph over an ONNX model, with rewrites that are checked and keep its look-up tables right."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from jetseg.onnx.lookup import GraphError, GraphLookup
from jetseg.onnx.node import node_title, tensors_read


class Graph(GraphLookup):
    """An ONNX graph that can be changed.

    Whoever changes a graph does so by the methods below. They keep the tables right, and raise `GraphError` before
    they leave a reader without its tensor or make a tensor twice. Nodes stay the same objects throughout.
    """

    def copy(self) -> Graph:
        """Returns a graph of its own with the same content."""
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        return Graph(model)

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

    def unlist_weights(self) -> None:
        """Takes initializers off the list of inputs, where old files name them."""
        for value in [value for value in self.model.graph.input if value.name in self.weights]:
            self.model.graph.input.remove(value)
        self._types = None

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
        for other in node.input[1:]:
            self._require(other, node)
        self.producer[inner] = self.producer.pop(name)
        producer.output[list(producer.output).index(name)] = inner
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
        dropped = [name for name in node.output[count:] if name]
        for name in dropped:
            if name in self.consumers or name in self.outputs:
                raise GraphError(f"Output {name} of node {node_title(node)} is still needed.")
        for name in dropped:
            del self.producer[name]
        del node.output[count:]
        self._types = None

    def drop_unused(self) -> None:
        """Removes initializers that no node reads, from the list of inputs too, where old files name them."""
        graph, unused = self.model.graph, self.weights.keys() - self.consumers.keys() - set(self.outputs)
        for listed in (graph.initializer, graph.input):
            for position in reversed(range(len(listed))):
                if listed[position].name in unused:
                    del listed[position]
        for name in unused:
            del self.weights[name], self.constants[name]

    def sort(self) -> None:
        """Moves nodes so that each reads what is made before it; what is in order stays as it is."""
        done: dict[int, onnx.NodeProto] = {}
        for start in self._nodes:
            path = [start]
            while path:
                makers = (self.producer.get(name) for name in tensors_read(path[-1]))
                waiting = next((maker for maker in makers if maker is not None and id(maker) not in done), None)
                if waiting is None:
                    done.setdefault(id(path[-1]), path.pop())
                elif len(path) > len(self._nodes):
                    raise GraphError(f"Node {node_title(start)} waits for what it makes itself.")
                else:
                    path.append(waiting)
        places = {key: place for place, key in enumerate(done)}
        for nodes in (self._nodes, self.model.graph.node, *self.consumers.values()):
            nodes.sort(key=lambda node: places[id(node)])

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

    def _require(self, name: str, node: onnx.NodeProto) -> None:
        if name and not self._knows(name):
            raise GraphError(f"Node {node_title(node)} cannot read {name}: nothing makes it.")

    def _refuse_known(self, name: str) -> None:
        if self._knows(name):
            raise GraphError(f"The graph has a tensor {name} already.")
