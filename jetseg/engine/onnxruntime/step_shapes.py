"""What ONNX Runtime made of a network: the shapes and attributes of its steps, fused and laid out as it runs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnx

from jetseg.latency.unit import Shape, Unit
from jetseg.onnx.node import attribute_int, attribute_ints, attribute_text

_BLOCKED = "com.microsoft.nchwc"
"""Domain of operators in ONNX Runtime's own layout, blocks of channels."""


class StepShapes:
    """Gives the unit of each step; steps are asked for in the order in which they ran.

    Args:
        optimized: The network as ONNX Runtime computes it.
        feeds: What it is run on.
    """

    def __init__(self, optimized: Path, feeds: Mapping[str, npt.NDArray[Any]]) -> None:
        graph = onnx.load(optimized).graph
        self._nodes = {node.name: node for node in graph.node if node.name}
        self._nameless = [node for node in graph.node if not node.name]
        self._constants: dict[str, Shape] = {weight.name: tuple(weight.dims) for weight in graph.initializer}
        self._shapes: dict[str, Shape] = {name: value.shape for name, value in feeds.items()}

    def unit(self, name: str, dtype: str, outputs: Sequence[Shape]) -> Unit | None:
        """Returns the unit of a step, or None for one that is not in the file or writes nothing.

        Args:
            name: Name of the step.
            dtype: Type of its first input, in ONNX Runtime's words.
            outputs: Shapes that it wrote.
        """
        node = self._nodes.get(name) or self._find_nameless(name)
        if node is None or not outputs or not all(prod(shape) for shape in outputs):
            return None
        self._shapes.update(zip([output for output in node.output if output], outputs, strict=False))
        inputs = [self._shapes[value] for value in node.input if value in self._shapes]
        constants = [shape for value in node.input if (shape := self._constants.get(value))]
        order = (0, 3, 1, 2) if attribute_int(node, "channels_last", 0) and "Reorder" not in node.op_type else None
        return Unit(
            operator=f"nchwc.{node.op_type}" if node.domain == _BLOCKED else node.op_type,
            dtype=dtype,
            inputs=tuple(_ordered(shape, order) for shape in inputs if prod(shape)),
            output=_ordered(outputs[0], order),
            weights=tuple(attribute_ints(node, "kernel_shape", ())) if "Pool" in node.op_type else _largest(constants),
            stride=tuple(attribute_ints(node, "strides", ())),
            dilation=tuple(attribute_ints(node, "dilations", ())),
            groups=attribute_int(node, "group", 1),
            fused=tuple(_fused(node, len(inputs))),
        )

    def _find_nameless(self, name: str) -> onnx.NodeProto | None:
        """Returns the first node without a name of a step that is called by its operator and a number."""
        operator = name.rpartition("_")[0]
        found = next((node for node in self._nameless if node.op_type == operator), None)
        if found is not None:
            self._nameless.remove(found)
        return found


def _ordered(shape: Shape, order: Sequence[int] | None) -> Shape:
    return tuple(shape[axis] for axis in order) if order and len(shape) == len(order) else tuple(shape)


def _largest(constants: Sequence[Shape]) -> Shape:
    return max(constants, key=prod, default=())


def _fused(node: onnx.NodeProto, inputs: int) -> list[str]:
    """Returns what is computed within a step, and what of its attributes changes its speed."""
    found = [attribute_text(node, "activation", "")]
    if "Conv" in node.op_type and inputs > 1:
        found.insert(0, "Add")
    if node.op_type in ("Resize", "Upsample"):
        found += [attribute_text(node, "mode", "nearest"), attribute_text(node, "coordinate_transformation_mode", "")]
    if node.op_type == "Transpose":
        found.append("".join(map(str, attribute_ints(node, "perm", ()))))
    return [name for name in found if name]
