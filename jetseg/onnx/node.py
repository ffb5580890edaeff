"""What one ONNX node holds: attributes of the type that they have, what it reads, its value if it is a constant."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

_NUMBERS = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Returns all attributes by name: numbers, text, tensors, nested graphs, and lists of them."""
    return {entry.name: _plain(helper.get_attribute_value(entry)) for entry in node.attribute}


def attribute_float(node: onnx.NodeProto, name: str, default: float) -> float:
    """Returns a number, or the default.

    >>> attribute_float(helper.make_node("LeakyRelu", ["x"], ["y"], alpha=0.5), "alpha", 0.01)
    0.5
    """
    return float(_value(node, name, default))


def attribute_int(node: onnx.NodeProto, name: str, default: int) -> int:
    """Returns a whole number, or the default."""
    return int(_value(node, name, default))


def attribute_ints(node: onnx.NodeProto, name: str, default: tuple[int, ...] = ()) -> tuple[int, ...]:
    """Returns a list of whole numbers, or the default.

    >>> attribute_ints(helper.make_node("Conv", ["x", "w"], ["y"], strides=[2, 1]), "strides")
    (2, 1)
    """
    return tuple(int(value) for value in _value(node, name, default))


def attribute_text(node: onnx.NodeProto, name: str, default: str = "") -> str:
    """Returns a text, or the default."""
    return str(_plain(_value(node, name, default)))


def tensors_read(node: onnx.NodeProto) -> Iterator[str]:
    """Yields what a node reads, what its branches take from outside included; an input that is left out is not read."""
    yield from filter(None, node.input)
    for entry in node.attribute:
        for branch in (*([entry.g] if entry.HasField("g") else ()), *entry.graphs):
            own = {value.name for value in (*branch.input, *branch.initializer)}
            own.update(name for inner in branch.node for name in inner.output)
            yield from (name for inner in branch.node for name in tensors_read(inner) if name not in own)
            yield from (value.name for value in branch.output if value.name not in own)


def constant_value(node: onnx.NodeProto) -> onnx.TensorProto | None:
    """Returns the value of a constant node; None for other nodes, and for text and sparse values."""
    if node.op_type != "Constant":
        return None
    name, value = next(iter(attributes(node).items()), ("", None))
    if isinstance(value, onnx.TensorProto):
        return value
    if name not in _NUMBERS:
        return None
    return numpy_helper.from_array(np.asarray(value, _NUMBERS[name]), node.output[0])


def node_title(node: onnx.NodeProto) -> str:
    """Names a node in a message: its name, or its first output, and its operator."""
    return f"{node.name or next(iter(node.output), '')} ({node.op_type})"


def _value(node: onnx.NodeProto, name: str, default: Any) -> Any:  # noqa: ANN401 - attributes have many types
    for entry in node.attribute:
        if entry.name == name:
            return helper.get_attribute_value(entry)
    return default


def _plain(value: Any) -> Any:  # noqa: ANN401 - attributes have many types
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
