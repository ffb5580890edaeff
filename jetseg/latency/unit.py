"""One operator as a backend runs it, with what was fused into it: all that its latency depends on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import prod

Shape = tuple[int, ...]

MOST_SIZE = 1 << 40
"""Values of a tensor in a text, at most: a product of sizes must stay a number that floats hold."""
_TEXT = re.compile(
    r"(?P<operator>[\w.]+) (?P<dtype>\w+) (?P<inputs>[\dx,-]+) > (?P<output>[\dx]+)"
    r"(?: w(?P<weights>[\dx]+))?(?: s(?P<stride>[\dx]+))?(?: d(?P<dilation>[\dx]+))?(?: g(?P<groups>\d+))?"
    r"(?: \+(?P<fused>[\w+]+))?"
)


@dataclass(frozen=True)
class Unit:
    """A fused operator. Shapes are in the order of ONNX, channels before height and width.

    Attributes:
        operator: In ONNX's words, or in the runtime's where ONNX has none.
        dtype: Type of the first input, as in "float32" or "uint8".
        inputs: Shapes of the activations that it reads.
        output: Shape of the first that it writes.
        weights: Shape of the largest constant that it reads; empty without one.
        stride: Steps of a window; empty for what has none.
        dilation: Distance of a kernel's taps; empty for what has none.
        groups: Groups of channels that do not mix.
        fused: Operators computed within it, in order.
    """

    operator: str
    dtype: str
    inputs: tuple[Shape, ...]
    output: Shape
    weights: Shape = ()
    stride: Shape = ()
    dilation: Shape = ()
    groups: int = 1
    fused: tuple[str, ...] = ()

    @property
    def macs(self) -> int:
        """Multiply-accumulates; 0 for what only moves or combines values.

        >>> Unit("Conv", "float32", ((1, 8, 4, 6),), (1, 16, 4, 6), weights=(16, 8, 3, 3)).macs
        27648
        """
        if "ConvTranspose" in self.operator and self.weights:
            return prod(self.inputs[0]) * prod(self.weights[1:])
        if "Conv" in self.operator and self.weights:
            return prod(self.output) * prod(self.weights[1:])
        if any(word in self.operator for word in ("MatMul", "Gemm")) and self.inputs and self.inputs[0]:
            return prod(self.output) * self.inputs[0][-1]
        return 0

    @property
    def read(self) -> int:
        """Activations that it reads, in numbers."""
        return sum(prod(shape) for shape in self.inputs)

    @property
    def written(self) -> int:
        """Numbers that it writes."""
        return prod(self.output)

    def __str__(self) -> str:
        """Writes it for a table; `parse_unit` reads it.

        >>> str(Unit("Conv", "float32", ((1, 8, 4, 6),), (1, 16, 2, 3), (16, 8, 3, 3), (2, 2), fused=("Relu",)))
        'Conv float32 1x8x4x6 > 1x16x2x3 w16x8x3x3 s2x2 +Relu'
        """
        parts = [self.operator, self.dtype, ",".join(map(_text, self.inputs)) or "-", ">", _text(self.output)]
        parts += [f"w{_text(self.weights)}"] if self.weights else []
        parts += [f"s{_text(self.stride)}"] if self.stride and set(self.stride) != {1} else []
        parts += [f"d{_text(self.dilation)}"] if self.dilation and set(self.dilation) != {1} else []
        parts += [f"g{self.groups}"] if self.groups > 1 else []
        parts += ["+" + "+".join(self.fused)] if self.fused else []
        return " ".join(parts)


def parse_unit(text: str) -> Unit:
    """Reads what `str` wrote of a unit.

    Raises:
        ValueError: It is no such text, or a tensor of it is larger than any.

    >>> parse_unit("Conv float32 1x8x4x6 > 1x16x2x3 w16x8x3x3 s2x2 +Relu").fused
    ('Relu',)
    """
    found = _TEXT.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:100]!r} is no operator of a latency table")
    inputs = () if found["inputs"] == "-" else tuple(map(_shape, found["inputs"].split(",")))
    return Unit(
        operator=found["operator"],
        dtype=found["dtype"],
        inputs=inputs,
        output=_shape(found["output"]),
        weights=_shape(found["weights"]),
        stride=_shape(found["stride"]),
        dilation=_shape(found["dilation"]),
        groups=int(found["groups"] or 1),
        fused=tuple((found["fused"] or "").split("+")) if found["fused"] else (),
    )


def _text(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "1"


def _shape(text: str | None) -> Shape:
    sizes = tuple(int(size) for size in text.split("x")) if text else ()
    if not all(size > 0 for size in sizes) or prod(sizes) > MOST_SIZE:
        raise ValueError(f"{text!r} is no shape")
    return sizes
