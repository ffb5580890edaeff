"""Which channels of which tensors may be rescaled together without changing what the network computes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt
import onnx

from jetseg.onnx.channel_axes import channel_axes, followed_axis, written_axis
from jetseg.onnx.graph import Graph
from jetseg.onnx.node import attribute_int, attribute_ints

PASSES_SCALE = frozenset(
    {"Relu", "LeakyRelu", "PRelu", "MaxPool", "AveragePool", "GlobalAveragePool", "Resize", "Dropout", "Identity"}
)
"""Operators with f(s * x) = s * f(x) for s > 0, channel by channel, if all else that they read is constant."""
REARRANGES = frozenset({"Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Mul", "Div"})
"""Operators that do so too where they keep the channels together, or multiply each with a constant."""
SCALABLE_LAYERS = frozenset({"Conv", "ConvTranspose", "BatchNormalization", "MatMul", "Gemm"})
"""Operators that take a factor of each input channel away and give one to each output channel."""
SCALABLE_WRITERS = SCALABLE_LAYERS | {"LayerNormalization"}
"""These, and what only gives one to each output channel."""

Factors = npt.NDArray[np.float64]
Group = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ChannelGroups:
    """Channels tied by additions, concatenations and activations: one free factor each.

    Attributes:
        count: Number of groups.
        of: Group of each channel, by tensor; tensors whose channels are unknown are absent.
        fixed: True for groups whose factor must stay 1: inputs, outputs and all that other operators touch.
    """

    count: int
    of: Mapping[str, Group]
    fixed: npt.NDArray[np.bool_]

    def factors(self, tensor: str, by_group: Factors) -> Factors:
        """Returns the factor of each channel of a tensor."""
        return np.asarray(by_group[self.of[tensor]])


def channel_groups(graph: Graph, channels: Mapping[str, int]) -> ChannelGroups:
    """Finds the free factors of a network.

    Args:
        graph: The network.
        channels: Number of channels of each activation, on its axis of `channel_axes`.

    Returns:
        The groups, numbered from 0.
    """
    tying = _Tying(channels, channel_axes(graph))
    for name in graph.inputs:
        tying.open(name)
        tying.freeze(name)
    constants = _constants(graph)
    shuffles = {node.output[0]: found for node in graph.nodes if (found := _shuffle(graph, node, channels))}
    inner = {name for found in shuffles.values() for name in found.inner}
    for node in graph.nodes:
        output = node.output[0]
        if output in shuffles:
            tying.of[output] = shuffles[output].reorder(tying.of[shuffles[output].source])
        if output in tying.of or output in constants or output in inner:
            continue
        reads = [name for name in node.input if name and name not in constants]
        if not _tie(graph, node, reads, tying):
            for name in (*reads, *node.output):
                tying.open(name)
                tying.freeze(name)
    for name in graph.outputs:
        tying.freeze(name)
    return tying.groups()


def _tie(graph: Graph, node: onnx.NodeProto, reads: list[str], tying: _Tying) -> bool:
    """Ties the channels of a node's output to those that it reads; False if it allows no factor."""
    output = node.output[0]
    if output not in tying.channels:
        return False
    if writes_factors(graph, node, tying.axes):
        tying.open(output)
        if node.op_type not in SCALABLE_LAYERS:
            tying.freeze(reads[0])
        return True
    if any(name not in tying.of for name in reads) or not _carried_on(graph, node, reads, tying.axes):
        return False
    found = _tied(graph, node, reads, tying)
    if found is None:
        return False
    tying.of[output] = found
    return True


def _tied(graph: Graph, node: onnx.NodeProto, reads: list[str], tying: _Tying) -> Group | None:
    """Returns the groups of what a node makes of channels with known groups; None if it allows no factor."""
    known = [tying.of[name] for name in reads]
    whole = len(known) == len(node.input)
    if node.op_type == "Concat" and whole and _joins(graph, node, tying.axes):
        return np.concatenate(known)
    if {len(own) for own in known} != {tying.channels[node.output[0]]}:
        return None
    if len(known) == 1:
        return known[0] if _passes(graph, node) or constant_term(graph, node, tying.axes) else None
    if node.op_type == "Mul":
        gates = [_is_gate(graph, name) for name in reads]  # what a gate opens is scaled as before, the gate is not
        return known[gates.index(False)] if sum(gates) == 1 else None
    if node.op_type not in ("Add", "Concat") or not whole:
        return None
    for other in known[1:]:
        tying.tie(known[0], other)
    return known[0]


class _Tying:
    """Groups of channels while they are found: a union-find over all channels."""

    def __init__(self, channels: Mapping[str, int], axes: Mapping[str, int]) -> None:
        self.channels = channels
        self.axes = axes
        self.of: dict[str, Group] = {}
        self._parent: list[int] = []
        self._frozen: set[int] = set()

    def open(self, name: str) -> None:
        """Gives a tensor groups of its own if it has none yet."""
        if name in self.channels and name not in self.of:
            start = len(self._parent)
            self._parent.extend(range(start, start + self.channels[name]))
            self.of[name] = np.arange(start, start + self.channels[name])

    def tie(self, one: Group, other: Group) -> None:
        """Makes one group of two, channel by channel."""
        for first, second in zip(one.tolist(), other.tolist(), strict=True):
            self._parent[self._root(second)] = self._root(first)

    def freeze(self, name: str) -> None:
        """Keeps the factors of a tensor at 1."""
        if name in self.of:
            self._frozen.update(self.of[name].tolist())

    def groups(self) -> ChannelGroups:
        """Returns the groups, numbered without gaps."""
        roots = np.array([self._root(group) for group in range(len(self._parent))], dtype=np.int64)
        used, compact = np.unique(roots, return_inverse=True)
        fixed = np.zeros(len(used), dtype=bool)
        fixed[compact[sorted(self._frozen)]] = True
        return ChannelGroups(len(used), {name: compact[group] for name, group in self.of.items()}, fixed)

    def _root(self, group: int) -> int:
        while self._parent[group] != group:
            self._parent[group] = self._parent[self._parent[group]]
            group = self._parent[group]
        return group


def writes_factors(graph: Graph, node: onnx.NodeProto, axes: Mapping[str, int]) -> bool:
    """Tells whether a node has weights of its own that can give a factor to each channel that it writes."""
    if node.op_type not in SCALABLE_WRITERS or not graph.owns(node):
        return False
    if node.op_type == "LayerNormalization":
        return len(node.output) == 1 and written_axis(graph, node, axes) is not None
    wanted = written_axis(graph, node, axes)
    turned = node.op_type == "Gemm" and attribute_int(node, "transA", 0)
    return wanted is not None and not turned and axes.get(node.input[0], wanted) == wanted


def _carried_on(graph: Graph, node: onnx.NodeProto, reads: list[str], axes: Mapping[str, int]) -> bool:
    """Tells whether what a node reads has its channels where its output has them."""
    wanted = axes[node.output[0]]
    if node.op_type == "Slice" and not _keeps_axis(graph, node, wanted):
        return False
    if node.op_type == "Concat" and _joins(graph, node, axes):
        return all(axes[name] == wanted for name in reads)
    return all(followed_axis(graph, node, name, axes[name]) == wanted for name in reads)


def _keeps_axis(graph: Graph, node: onnx.NodeProto, axis: int) -> bool:
    """Tells whether a Slice leaves an axis alone."""
    rank = len(graph.shapes.get(node.output[0], ()))
    if len(node.input) < 4 or node.input[3] not in graph.constants or not rank:
        return False
    return axis not in [cut % rank for cut in graph.weight(node.input[3]).astype(int).tolist()]


def _joins(graph: Graph, node: onnx.NodeProto, axes: Mapping[str, int]) -> bool:
    """Tells whether a Concat puts channels beside channels, and not positions beside positions."""
    axis = attribute_int(node, "axis", 0)
    rank = len(graph.shapes.get(node.output[0], ()))
    return axes[node.output[0]] == (axis if axis >= 0 else axis + rank)


def _passes(graph: Graph, node: onnx.NodeProto) -> bool:
    if node.op_type == "MatMul":  # rows or columns of each channel are mixed, as adaptive pooling is exported
        return any(len(graph.weights[name].dims) == 2 for name in node.input if name in graph.weights)
    if node.op_type == "Div" and node.input[0] in graph.constants:
        return False
    return node.op_type in PASSES_SCALE or node.op_type in REARRANGES


def _constants(graph: Graph) -> frozenset[str]:
    """Returns the initializers, and what is computed from them and from shapes alone, as sizes of a Resize are."""
    found = set(graph.weights)
    for node in graph.nodes:
        if node.op_type == "Shape" or found.issuperset(name for name in node.input if name):
            found.update(node.output)
    return frozenset(found)


def _is_gate(graph: Graph, name: str) -> bool:
    """Tells whether a tensor is what a sigmoid makes; its channels are never scaled."""
    producer = graph.producer.get(name)
    return producer is not None and producer.op_type in ("Sigmoid", "HardSigmoid")


@dataclass(frozen=True)
class _Shuffle:
    """A channel shuffle: channels in groups, read out one of each group after the other.

    Attributes:
        source: Tensor with the channels in their first order.
        inner: Tensors between.
        groups: Number of groups.
    """

    source: str
    inner: tuple[str, str]
    groups: int

    def reorder(self, channels: Group) -> Group:
        """Returns the groups of the output's channels, given those of the source's."""
        return np.asarray(channels.reshape(self.groups, -1).T.ravel())


def _shuffle(graph: Graph, node: onnx.NodeProto, channels: Mapping[str, int]) -> _Shuffle | None:
    """Recognizes a channel shuffle by its last node: the channel axis is split, its halves are swapped, and joined."""
    swap = graph.producer.get(node.input[0]) if node.op_type == "Reshape" else None
    split = graph.producer.get(swap.input[0]) if swap is not None and swap.op_type == "Transpose" else None
    if swap is None or split is None or split.op_type != "Reshape" or split.input[1] not in graph.weights:
        return None
    source, inner = split.input[0], (split.output[0], swap.output[0])
    order = attribute_ints(swap, "perm")
    parts = graph.weight(split.input[1]).tolist()
    count = channels.get(source)
    if (
        order != (0, 2, 1, 3, 4)
        or count is None
        or count != channels.get(node.output[0])
        or parts[1] * parts[2] != count
        or any(graph.only_consumer(name) is None for name in inner)
    ):
        return None
    return _Shuffle(source, inner, int(parts[1]))


def constant_term(graph: Graph, node: onnx.NodeProto, axes: Mapping[str, int]) -> str | None:
    """Returns the constant that a node adds, if that is a number of its own for each channel."""
    names = [name for name in node.input if name in graph.weights]
    if node.op_type != "Add" or len(names) != 1 or len(graph.consumers[names[0]]) != 1:
        return None
    dims, rank = list(graph.weights[names[0]].dims), len(graph.shapes.get(node.output[0], ())) or 4
    place = axes[node.output[0]] - rank + len(dims)
    return names[0] if place >= 0 and prod(dims) == dims[place] else None
