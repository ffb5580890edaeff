"""Which operators of a network a GPU's compiler computes in one kernel, told from the graph alone.

The rules are those that TensorRT documents ("Types of fusions", Developer Guide): what is computed value by value joins
the convolution or the product before it, or the chain of its like; an addition joins with its second operand; reshapes
cost nothing, and what follows from shapes is computed beforehand. A compiler may do better or worse, so that this is
for where it cannot be asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod

import onnx

from jetseg.latency.unit import Shape, Unit
from jetseg.onnx.graph import Graph
from jetseg.onnx.node import attribute_int, attribute_ints

_FREE = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout", "Cast"})
"""They change what values are called, not the values."""
_PRODUCTS = frozenset({"Conv", "ConvTranspose", "MatMul", "Gemm"})
_POINTWISE = frozenset(
    {
        *("Relu", "Clip", "LeakyRelu", "PRelu", "Elu", "Selu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Gelu"),
        *("Erf", "Exp", "Sqrt", "Pow", "Neg", "Abs", "Softplus", "Mish", "Add", "Sub", "Mul", "Div", "Min", "Max"),
        *("BatchNormalization", "QuantizeLinear", "DequantizeLinear"),
    }
)


def fused_units(graph: Graph, dtype: str) -> list[Unit]:
    """Returns the operators of a network, fused, in order of execution.

    Args:
        graph: The network, of fixed shapes; operators of an open shape are left out.
        dtype: What products read, as in "float16" or "int8".
    """
    fusing = _Fusing(graph, dtype)
    for node in graph.nodes:
        fusing.add(node)
    return [kernel.unit for kernel in fusing.kernels]


@dataclass
class _Kernel:
    """What grows into a unit.

    Attributes:
        unit: What it is so far.
        output: The tensor that it makes so far.
    """

    unit: Unit
    output: str


@dataclass
class _Fusing:
    """The kernels of a graph, which is walked in order of execution."""

    graph: Graph
    dtype: str
    kernels: list[_Kernel] = field(default_factory=list)
    _makers: dict[str, _Kernel] = field(default_factory=dict)
    _shapes: dict[str, Shape] = field(default_factory=dict)
    _constants: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._shapes = {
            name: tuple(size for size in sizes if size) for name, sizes in self.graph.shapes.items() if all(sizes)
        }

    def add(self, node: onnx.NodeProto) -> None:
        """Joins a node with a kernel, or begins one."""
        shapes, output = self._shapes, node.output[0]
        activations = [name for name in node.input if name and not self._is_constant(name)]
        if not activations or node.op_type == "Shape":
            self._constants.update(node.output)
            return
        activations = [name for name in activations if name in shapes]
        if not activations or output not in shapes:
            return
        if node.op_type in _FREE:
            self._rename(activations[0], output)
            return
        kernel = self._joined(activations) if node.op_type in _POINTWISE else None
        if kernel is None:
            unit = _describe(node, shapes, activations, self.dtype)
            kernel = _Kernel(unit, output)
            self.kernels.append(kernel)
        else:
            others = tuple(shapes[name] for name in activations if self._makers.get(name) is not kernel)
            unit = kernel.unit
            kernel.unit = replace(
                unit, inputs=(*unit.inputs, *others), output=shapes[output], fused=(*unit.fused, node.op_type)
            )
        kernel.output = output
        self._makers[output] = kernel

    def _is_constant(self, name: str) -> bool:
        """Tells whether a tensor is stored, or follows from what is stored and from shapes, which are fixed."""
        return name in self.graph.weights or name in self._constants

    def _rename(self, before: str, after: str) -> None:
        kernel = self._makers.get(before)
        if kernel is not None and kernel.output == before and self.graph.only_consumer(before) is not None:
            kernel.output = after
            self._makers[after] = kernel

    def _joined(self, activations: list[str]) -> _Kernel | None:
        """Returns the last kernel that makes an operand which nothing else reads."""
        makers = [
            kernel
            for name in activations
            if (kernel := self._makers.get(name)) is not None
            and kernel.output == name
            and kernel.unit.operator in (*_PRODUCTS, "Pointwise")
            and self.graph.only_consumer(name) is not None
        ]
        return max(makers, key=self.kernels.index, default=None)


def _describe(node: onnx.NodeProto, shapes: Mapping[str, Shape], activations: list[str], dtype: str) -> Unit:
    """Returns the unit of a node alone; what it reads besides activations is stored."""
    constants = [shapes[name] for name in node.input if name in shapes and name not in activations]
    pointwise = node.op_type in _POINTWISE
    window = attribute_ints(node, "kernel_shape", ()) if "Pool" in node.op_type else ()
    return Unit(
        operator="Pointwise" if pointwise else node.op_type,
        dtype=dtype,
        inputs=tuple(shapes[name] for name in activations),
        output=shapes[node.output[0]],
        weights=window or (max(constants, key=prod, default=()) if node.op_type in _PRODUCTS else ()),
        stride=attribute_ints(node, "strides", ()),
        dilation=attribute_ints(node, "dilations", ()),
        groups=attribute_int(node, "group", 1),
        fused=(node.op_type,) if pointwise else (),
    )
