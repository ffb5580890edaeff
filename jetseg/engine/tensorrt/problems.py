"""Says in one line what TensorRT refused and what to do: its own words are many lines and name no remedy."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import onnx

OUT_OF_MEMORY = "the device's memory does not suffice."
"""The one reason that says nothing about the network."""


@dataclass(frozen=True)
class Problem:
    """One thing that TensorRT refused.

    Attributes:
        node: Name of the node, or of its first output where it has no name; empty if no node is to blame.
        operator: Its ONNX operator.
        reason: Why it was refused.
        fix: What to do.
    """

    node: str
    operator: str
    reason: str
    fix: str

    def __str__(self) -> str:
        place = f"{self.node} ({self.operator}): " if self.node else ""
        return f"{place}{self.reason} {self.fix}"


_RULES = (
    (
        r"input has type Int32 but must have type",
        "a dequantizer reads int32 values, as ONNX Runtime's quantizer writes biases.",
        "Keep biases in float: render the network with `jetseg render --form qdq`.",
    ),
    (
        r"Non-zero zero point is not supported|shiftIsAllZeros",
        "the quantizer is asymmetric; TensorRT takes no zero point but 0.",
        "Quantize symmetrically: render the network with `jetseg render --form qdq`.",
    ),
    (
        r"Scale coefficients must all be positive",
        "a scale is zero or negative.",
        "Calibrate again; the tensor or weight may be zero everywhere, then it needs a scale of 1.",
    ),
    (
        r"Plugin not found|^false$|No importer registered",
        "TensorRT has no such operator.",
        "Replace the node by standard ONNX operators and export again.",
    ),
    (
        r"no optimization profile has been defined",
        "an input has a size that is not fixed.",
        "Export the network with fixed sizes; jetseg itself fixes only the input that the manifest names.",
    ),
    (
        r"does not support UINT8 types for intermediate tensors",
        "uint8 values inside the network are not supported.",
        "Cast to int32 or float32 instead, and export again.",
    ),
    (
        r"must have same input types",
        "its inputs have different data types, and a strongly typed network converts none.",
        "Cast one of them in the network, and export again.",
    ),
    (
        r"OutOfMemory|out of memory|insufficient memory",
        OUT_OF_MEMORY,
        "Free memory on the device (close other programs), or give a smaller `options` workspace_mb=N.",
    ),
)
"""Pattern of a message, reason, fix."""
_UNKNOWN_FIX = "Change the network there and export it again; `polygraphy inspect capability` shows the part around it."
_API_ERROR = re.compile(r"Error Code \d+: [^(]*\((?P<words>.*?)(?: In \S+ at \S+)?\)\s*$", re.DOTALL)
_NODE_LINE = re.compile(r"^Invalid Node - .*$")


def parser_problems(parser: Any, model: onnx.ModelProto) -> list[Problem]:  # noqa: ANN401
    """Explains what an ONNX parser refused, in its order.

    Args:
        parser: An `OnnxParser` that failed.
        model: What it was given.
    """
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    return [_explain(error.desc(), _place(error, model), error.node_operator()) for error in errors]


def build_problems(messages: Sequence[str]) -> list[Problem]:
    """Explains what a builder refused, from the errors that it logged."""
    return list(dict.fromkeys(_explain(message, "", "") for message in messages if not _says_no_driver(message)))


def _explain(message: str, node: str, operator: str) -> Problem:
    for pattern, reason, fix in _RULES:
        if re.search(pattern, message):
            return Problem(node, operator, reason, fix)
    return Problem(node, operator, f"TensorRT says: {_words(message)}.", _UNKNOWN_FIX)


def _place(error: Any, model: onnx.ModelProto) -> str:  # noqa: ANN401
    """Returns the node's name, or its first output if it has none."""
    name = str(error.node_name())
    nodes, index = model.graph.node, error.node()
    if not name and 0 <= index < len(nodes) and nodes[index].op_type == error.node_operator():
        name = nodes[index].output[0]
    return name or f"node {index}"


def _words(message: str) -> str:
    """Returns the part of a message that says something, on one line and without source files.

    >>> _words("ITensor::x: Error Code 4: API Usage Error (add: types differ. In check at /_src/a.cpp:4)")
    'add: types differ'
    """
    lines = [line for line in message.splitlines() if line and not _NODE_LINE.match(line) and not _says_no_driver(line)]
    text = " ".join(lines) or message
    found = _API_ERROR.search(text)
    return (found["words"] if found else text.removeprefix("Assertion failed: ")).strip().rstrip(".!")


def _says_no_driver(message: str) -> bool:
    """Tells whether a message only says that this machine has no GPU, which a builder for another one ignores."""
    return "cudaError 35" in message
