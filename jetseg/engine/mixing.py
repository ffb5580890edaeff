"""Where integers pay: which layers of an int8 engine are faster in float, with what the changes between both cost."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import inf, prod

from jetseg.engine.backend import StepTime
from jetseg.engine.minimum_cut import Edge, minimum_cut
from jetseg.engine.node_times import find_atoms, spent_ms
from jetseg.onnx.cost import product_macs
from jetseg.onnx.graph import Graph
from jetseg.onnx.quantizers import DEQUANTIZE, QUANTIZE
from jetseg.quantization.qdq.kernels import is_product
from jetseg.quantization.qdq.placement import FLOAT_WRITERS, Placement

_LEAST_GAIN = 0.25
"""Where an int8 engine was asked for, products on integers are taken to win at least this share of their time: so that
few multiply-accumulates go to float for accuracy where times hardly differ, or this machine lacks fast kernels."""
_FLOAT, _INTEGER = "in float", "on integers"  # no tensor is called so


@dataclass(frozen=True)
class Region:
    """Neighboring layers that run in the same kind of numbers.

    Attributes:
        first: First node, by its output tensor.
        last: Last node.
        layers: Convolutions and matrix products in it.
        float_ms: Milliseconds that it takes in an engine that is all float.
        int8_ms: Milliseconds that it takes in an engine with all on integers that can be.
        change_ms: Milliseconds that the quantizers at its ends take if all around it is in float.
        integer: Whether it is faster on integers, or its neighbors are so with it.
    """

    first: str
    last: str
    layers: int
    float_ms: float
    int8_ms: float
    change_ms: float
    integer: bool


@dataclass(frozen=True)
class Noise:
    """What rounding one tensor loses.

    Attributes:
        power: Square of the pixels, in percent, that change their class: noises add up by their squares.
        nodes: Nodes, by output, that all must be in float for it to be gone; they could be on integers.
    """

    power: float
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class StepCosts:
    """What the nodes of a network cost in float and on integers, and what the changes between these cost.

    Args:
        graph: The float network.
        placement: Its quantizers where all is on integers that can be.
        in_float: Steps of the float engine.
        in_int8: Steps of the engine with these quantizers.
    """

    graph: Graph
    placement: Placement
    in_float: Sequence[StepTime]
    in_int8: Sequence[StepTime]

    def more_in_float(self) -> dict[str, float]:
        """Returns what each layer takes longer in float than on integers, in milliseconds, by its output tensor."""
        layers = (node.output[0] for node in self.graph.nodes if is_product(self.graph, node))
        return {name: self._float_ms[name] - self._int8_ms[name] for name in layers}

    def faster_in_float(self, caution: float = 1.0) -> frozenset[str]:
        """Returns the nodes, by output, that the network of least time has in float though they could be on integers.

        A node costs what it takes in one kind of numbers or the other, a tensor that goes from one to the other what
        its quantizer takes: the least sum of these is a minimum cut.

        Args:
            caution: Factor of what the quantizers cost.
        """
        costs = self._changes(caution)
        for atom in set(self._atoms.values()):
            movable = atom in self.placement.integer_nodes
            costs[_FLOAT, atom] = self._int8_ms[atom] if movable else inf
            costs[atom, _INTEGER] = self._float_ms[atom] if movable else 0.0
        return self._in_float(costs)

    def without(self, in_float: Container[str]) -> StepCosts:
        """Returns the costs where some nodes, by output, are in float whatever it takes."""
        left = frozenset(name for name in self.placement.integer_nodes if name not in in_float)
        return replace(self, placement=replace(self.placement, integer_nodes=left))

    def quieter_in_float(self, noises: Sequence[Noise], worth_ms: float, caution: float = 1.0) -> frozenset[str]:
        """Returns the nodes, by output, that are in float where time and noise together are least.

        Args:
            noises: What rounding loses.
            worth_ms: Milliseconds that are given for one unit of its power.
            caution: Factor of what the quantizers cost.
        """
        movable = {atom for atom in self._atoms.values() if atom in self.placement.integer_nodes}
        costs = self._changes(caution)
        for atom in set(self._atoms.values()):
            costs[_FLOAT, atom] = 0.0 if atom in movable else inf
            costs[atom, _INTEGER] = self._longer_ms(atom) if atom in movable else 0.0
        for place, noise in enumerate(noises):
            costs[_FLOAT, f"noise {place}"] = worth_ms * noise.power
            for atom in {self._atoms[name] for name in noise.nodes}:
                costs[f"noise {place}", atom] = inf
        return self._in_float(costs)

    def longer_ms(self, in_float: frozenset[str]) -> float:
        """Returns what these nodes take longer in float, and what all changes of numbers take then."""
        spent = sum(self._longer_ms(atom) for atom in {self._atoms[name] for name in in_float})
        integer = self.placement.integer_nodes - in_float
        for tensor, writer, readers in self._tensors:
            quantize, dequantize = self._change_ms(tensor)
            written = writer in integer
            spent += quantize * (not written and any(reader in integer for reader in readers))
            spent += dequantize * (written and any(reader not in integer for reader in readers))
        return spent

    def _longer_ms(self, atom: str) -> float:
        """Returns what a node takes longer in float, but no less than a share of the time for its part of the work."""
        return max(_LEAST_GAIN * self._work_ms.get(atom, 0.0), self._float_ms[atom] - self._int8_ms[atom])

    @cached_property
    def _work_ms(self) -> dict[str, float]:
        """The time in float, divided among the products by their multiply-accumulates."""
        per_mac = sum(self._float_ms.values()) / max(1, sum(self._macs.values()))
        return {name: per_mac * count for name, count in self._macs.items()}

    @cached_property
    def _macs(self) -> dict[str, int]:
        return product_macs(self.graph)

    def any_on_integers(self, in_float: frozenset[str]) -> bool:
        """Tells whether a layer is left on integers, with these nodes in float."""
        layers = (node.output[0] for node in self.graph.nodes if is_product(self.graph, node))
        return any(name in self.placement.integer_nodes - in_float for name in layers)

    def share_in_float(self, in_float: frozenset[str]) -> float:
        """Returns the percent of the multiply-accumulates that are in float with these nodes."""
        integer = self.placement.integer_nodes - in_float
        on_integers = sum(count for name, count in self._macs.items() if name in integer)
        return 100.0 * (1.0 - on_integers / max(1, sum(self._macs.values())))

    def by_work(self) -> StepCosts:
        """Returns the costs where nothing takes time but multiply-accumulates in float."""
        return replace(self, in_float=[StepTime(name, "", count, 0) for name, count in self._macs.items()], in_int8=())

    def regions(self, in_float: frozenset[str]) -> tuple[Region, ...]:
        """Returns the regions of a network with these nodes in float, in graph order."""
        movable = dict.fromkeys(atom for atom in self._atoms.values() if atom in self.placement.integer_nodes)
        joined = {atom: atom for atom in movable}

        def root(atom: str) -> str:
            while joined[atom] != atom:
                atom = joined[atom]
            return atom

        for _, writer, readers in self._tensors:
            for reader in readers:
                if writer in joined and reader in joined and (writer in in_float) == (reader in in_float):
                    joined[root(reader)] = root(writer)
        groups: dict[str, list[str]] = {}
        for atom in movable:
            groups.setdefault(root(atom), []).append(atom)
        return tuple(self._region(atoms, atoms[0] not in in_float) for atoms in groups.values())

    def _changes(self, caution: float) -> dict[Edge, float]:
        """Returns what the quantizers cost, as edges of a cut."""
        costs: dict[Edge, float] = {}
        for tensor, writer, readers in self._tensors:
            quantize, dequantize = self._change_ms(tensor)
            costs[writer, f"into {tensor}"] = caution * quantize
            costs[f"out of {tensor}", writer] = caution * dequantize
            for reader in readers:
                costs[f"into {tensor}", reader] = costs[reader, f"out of {tensor}"] = inf
        return costs

    def _in_float(self, costs: Mapping[Edge, float]) -> frozenset[str]:
        """Returns the nodes that the cheapest cut puts in float though they could be on integers."""
        found = minimum_cut(costs, _FLOAT, _INTEGER)
        return frozenset(
            atom for atom in self._atoms.values() if atom in found and atom in self.placement.integer_nodes
        )

    def _region(self, atoms: Sequence[str], integer: bool) -> Region:
        inside = set(atoms)
        change = 0.0
        for tensor, writer, readers in self._tensors:
            quantize, dequantize = self._change_ms(tensor)
            change += quantize * (writer not in inside and any(reader in inside for reader in readers))
            change += dequantize * (writer in inside and any(reader not in inside for reader in readers))
        layers = sum(is_product(self.graph, self.graph.producer[atom]) for atom in atoms)
        in_float, in_int8 = (sum(spent[atom] for atom in atoms) for spent in (self._float_ms, self._int8_ms))
        times = round(in_float, 4), round(in_int8, 4), round(change, 4)
        return Region(atoms[0], atoms[-1], layers, *times, integer)

    @cached_property
    def _atoms(self) -> dict[str, str]:
        return find_atoms(self.graph)

    @cached_property
    def _tensors(self) -> list[tuple[str, str, tuple[str, ...]]]:
        """Activations that may go from one kind of numbers to the other: name, who writes it, who reads it."""
        found = []
        floats = self.graph.float_tensors() - self.graph.weights.keys()
        for name in sorted(floats):
            maker = self.graph.producer.get(name)
            integer = maker is not None and maker.op_type not in FLOAT_WRITERS and self.placement.integer_outputs
            writer = self._atoms[maker.output[0]] if maker is not None and integer else _FLOAT
            readers = {self._atoms[reader.output[0]] for reader in self.graph.readers(name)} - {writer}
            readers |= {_FLOAT} if name in self.graph.outputs and writer != _FLOAT else set()
            if readers:
                found.append((name, writer, tuple(sorted(readers))))
        return found

    def _change_ms(self, tensor: str) -> tuple[float, float]:
        """Returns what it takes to quantize a tensor, and to dequantize it, in milliseconds."""
        shape = self.graph.shapes.get(tensor) or ()
        elements = prod(size or 1 for size in shape)
        quantize, dequantize = self._rates
        return quantize * elements, dequantize * elements

    @cached_property
    def _rates(self) -> tuple[float, float]:
        """Milliseconds per element of a quantizer and of a dequantizer; if only one of them was seen, it is both."""
        rates = []
        for operator in (QUANTIZE, DEQUANTIZE):
            steps = [step for step in self.in_int8 if step.operator == operator]
            elements = sum(step.elements for step in steps)
            rates.append(sum(step.ms for step in steps) / elements if elements else 0.0)
        return rates[0] or rates[1], rates[1] or rates[0]

    @cached_property
    def _float_ms(self) -> dict[str, float]:
        return spent_ms(self.graph, self._atoms, self.in_float)

    @cached_property
    def _int8_ms(self) -> dict[str, float]:
        return spent_ms(self.graph, self._atoms, self.in_int8)
