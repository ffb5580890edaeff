"""Writes a calibrated network's own integers, scales and zero points into a float LiteRT file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jetseg.engine.litert.model_file import ModelFile
from jetseg.onnx.graph import Graph
from jetseg.quantization.qdq.placement import Placement
from jetseg.quantization.qdq.schemes import Quantizer, Scheme, integer_layer

LAYERS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3}
"""Layers with integer kernels; the axis of the weight that counts its output channels."""
_MOVERS = frozenset(
    {"PAD", "RESHAPE", "TRANSPOSE", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "MAX_POOL_2D"}
    | {"AVERAGE_POOL_2D", "MEAN"}
)
"""Operators whose kernels need one scale for what they read and write."""
_JOINERS = frozenset({"CONCATENATION"})
"""Operators whose kernels need the scale of their output in all that they read; here they are given it."""
_OTHERS = frozenset({"ADD", "MUL"})
Numbers = tuple[float, int]
"""Scale and zero point."""
_PLAIN = frozenset({"PAD", "RESHAPE", "TRANSPOSE"})
"""Movers that a converter puts in by itself: what they make has no counterpart."""


@dataclass
class Quantization:
    """What is written into one file.

    Args:
        file: The float file; it is changed in place.
        counterparts: Tensors of the ONNX network that hold what each tensor of the file holds.
        graph: The ONNX network.
        placement: Where quantizers stand in it.
        quantizers: What they do.
        scheme: Their kind of numbers.
    """

    file: ModelFile
    counterparts: Mapping[int, tuple[str, ...]]
    graph: Graph
    placement: Placement
    quantizers: Mapping[str, Quantizer]
    scheme: Scheme
    names: dict[int, str] = field(default_factory=dict)
    """Quantized tensor of the ONNX network that each tensor of the file is, or is moved from."""
    written: dict[int, Numbers] = field(default_factory=dict)
    """What the integers of each tensor mean."""

    @property
    def kind(self) -> str:
        """Type of the integers."""
        return "INT8" if self.scheme.bits == 8 else "INT16"

    def run(self, *, ends: bool) -> frozenset[str]:
        """Writes the integers.

        Args:
            ends: Whether what goes in and comes out is integers as well, where an integer operator reads or makes it.

        Returns:
            The tensors of the ONNX network that operators on integers make.
        """
        self._name()
        integer = self._integer_operators()
        for operator in integer:
            self._write_integers_(operator)
        self._connect_(integer)
        if ends:
            self._open_ends_()
        made = (self.names[int(operator.outputs[0])] for operator in integer)
        return frozenset(made)

    def numbers(self, quantizer: Quantizer) -> Numbers:
        """Returns scale and zero point as LiteRT has them, whose 8-bit integers are signed."""
        shift = 0 if self.scheme.symmetric else 2 ** (self.scheme.bits - 1)
        return float(np.float32(quantizer.scale)), quantizer.zero_point - shift

    def _name(self) -> None:
        taken: set[str] = set()
        for place, found in self.counterparts.items():
            known = [name for name in found if name in self.quantizers]
            free = [name for name in known if name not in taken]
            if known:
                self.names[place] = (free or known)[0]
                taken.add(self.names[place])
        for operator in self.file.operators:
            source, made = int(operator.inputs[0]), int(operator.outputs[0])
            moved = self.file.kind(operator) in _PLAIN and not self.counterparts.get(made)
            if moved and source in self.names:
                self.names[made] = self.names[source]

    def _integer_operators(self) -> list[Any]:
        """Returns the operators that can run on integers, and whose result is rounded in the ONNX network."""
        readers, chosen = self.file.readers(), list[Any]()
        for operator in reversed(self.file.operators):
            made = int(operator.outputs[0])
            name = self.names.get(made)
            if name is None or not self._has_kernel(operator):
                continue
            if self.counterparts.get(made):
                if not self._rounds(made):
                    continue
            elif not any(reader is other for reader in readers.get(made, ()) for other in chosen):
                continue
            chosen.append(operator)
        return chosen[::-1]

    def _rounds(self, place: int) -> bool:
        """Tells whether all who read a tensor read rounded values."""
        producer = self.graph.producer.get(self.names.get(place, ""))
        return producer is not None and self.placement.writes_integers(producer)

    def _has_kernel(self, operator: Any) -> bool:  # noqa: ANN401 - a class of the schema
        kind, made = self.file.kind(operator), self.names[int(operator.outputs[0])]
        if kind in LAYERS:
            weights = [self.file.constant(int(place)) is not None for place in operator.inputs[1:] if place >= 0]
            return all(weights) and int(operator.inputs[0]) in self.names
        reads = [int(place) for place in operator.inputs if self.file.type(int(place)) == "FLOAT32"]
        if any(place not in self.names for place in reads) or not reads:
            return False
        if kind in _MOVERS:
            same = self.quantizers[self.names[reads[0]]] == self.quantizers[made]
            return same and not _activation(operator)
        return kind in _OTHERS or (kind in _JOINERS and not _activation(operator))

    def _write_integers_(self, operator: Any) -> None:  # noqa: ANN401
        """Gives the output of an operator its numbers, and a layer its weight and bias."""
        made = int(operator.outputs[0])
        self._give_(made, self.quantizers[self.names[made]])
        kind = self.file.kind(operator)
        if kind not in LAYERS:
            return
        axis, (source, weight_place, *rest) = LAYERS[kind], [int(place) for place in operator.inputs]
        weight = self.file.constant(weight_place)
        if weight is None:  # not so, says `_has_kernel`
            return
        given = self.file.constant(rest[0]) if rest else None
        bias = np.zeros(weight.shape[axis], np.float32) if given is None else given
        scale, _ = self.numbers(self.quantizers[self.names[source]])
        found = integer_layer(weight, bias, axis, scale, self.scheme.weight_limit)
        name = self.names[made]
        sums = found.bias if self.scheme.bits == 16 else found.bias.astype(np.int32)
        operator.inputs = [
            source,
            self.file.add_constant(f"{name}.weight", found.weight, found.weight_scale, axis),
            self.file.add_constant(f"{name}.bias", sums, found.bias_scale),
        ]

    def _give_(self, place: int, quantizer: Quantizer) -> None:
        self._note_(place, self.numbers(quantizer))

    def _note_(self, place: int, numbers: Numbers) -> None:
        scale, zero_point = numbers
        self.file.retype(place, self.kind)
        self.file.quantize(place, [scale], [zero_point])
        self.written[place] = numbers

    def _connect_(self, integer: list[Any]) -> None:
        """Puts quantizers and dequantizers between operators on integers and the others."""
        on_integers = {id(operator) for operator in integer}
        file, readers, order = self.file, self.file.readers(), []
        for place in file.inputs:
            order += self._convert_(place, readers, on_integers)
        for operator in list(file.operators):
            order.append(operator)
            for place in operator.outputs:
                order += self._convert_(int(place), readers, on_integers)
        for operator in integer:
            if file.kind(operator) in _JOINERS:
                place = next(index for index, other in enumerate(order) if other is operator)
                order[place:place] = self._join_(operator)
        file.set_operators(order)

    def _convert_(self, place: int, readers: Mapping[int, list[Any]], on_integers: set[int]) -> list[Any]:
        """Returns the quantizer and the dequantizer that a tensor needs, and points its readers to them."""
        file, made = self.file, []
        takers = [reader for reader in readers.get(place, ()) if id(reader) in on_integers]
        others = [reader for reader in readers.get(place, ()) if id(reader) not in on_integers]
        integers = place if place in self.written else None
        rounds = integers is not None or (bool(self.counterparts.get(place)) and self._rounds(place))
        if integers is None and (takers or rounds) and place in self.names:
            integers = file.add_tensor(f"{self.names[place]}.quantized", file.tensors[place].shape, "FLOAT32")
            self._give_(integers, self.quantizers[self.names[place]])
            made.append(file.make_operator("QUANTIZE", place, integers))
        if integers is None:
            return made
        if integers != place:
            _read_instead_(takers, place, integers)
        if rounds and (others or place in file.outputs):
            floats = file.add_tensor(f"{self.names[place]}.dequantized", file.tensors[place].shape, "FLOAT32")
            made.append(file.make_operator("DEQUANTIZE", integers, floats))
            _read_instead_(others, place, floats)
            file.set_ends(file.inputs, [floats if other == place else other for other in file.outputs])
        return made

    def _join_(self, operator: Any) -> list[Any]:  # noqa: ANN401
        """Returns what gives the inputs of a concatenation the scale of its output."""
        wanted, made = self.written[int(operator.outputs[0])], []
        for place in dict.fromkeys(int(place) for place in operator.inputs):
            if self.written[place] != wanted:
                scaled = self.file.add_tensor(
                    f"{self.names.get(place, place)}.rescaled", self.file.tensors[place].shape, "FLOAT32"
                )
                self._note_(scaled, wanted)
                made.append(self.file.make_operator("QUANTIZE", place, scaled))
                _read_instead_([operator], place, scaled)
        return made

    def _open_ends_(self) -> None:
        """Lets integers in and out where a quantizer or a dequantizer stands at an end."""
        file, inputs, outputs = self.file, self.file.inputs, self.file.outputs
        kept = []
        for operator in file.operators:
            source, made = int(operator.inputs[0]), int(operator.outputs[0])
            alone = sum(source in map(int, other.inputs) for other in file.operators) == 1
            if file.kind(operator) == "QUANTIZE" and source in inputs and alone:
                inputs = [made if place == source else place for place in inputs]
            elif file.kind(operator) == "DEQUANTIZE" and made in outputs:
                outputs = [source if place == made else place for place in outputs]
            else:
                kept.append(operator)
        file.set_ends(inputs, outputs)
        file.set_operators(kept)


def _activation(operator: Any) -> int:  # noqa: ANN401
    return int(getattr(operator.builtinOptions, "fusedActivationFunction", 0) or 0)


def _read_instead_(operators: list[Any], old: int, new: int) -> None:
    for operator in operators:
        operator.inputs = [new if int(place) == old else int(place) for place in operator.inputs]
