"""What TensorRT's ONNX parser refuses, as a table: operators, the form that is refused, what to do.

Every rule was seen in the parser or the builder of TensorRT-RTX 1.7.1, with which tests go through operators and
attributes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto

from jetseg.engine.tensorrt.operator_use import Use
from jetseg.engine.tensorrt.pooling import too_large
from jetseg.onnx.graph import Graph
from jetseg.quantization.tensorrt.rules import UNKNOWN_OPERATORS

_STANDARD_DOMAINS = frozenset({"", "ai.onnx"})
_MOST_AXES = 8
_MOST_TOP = 3840
_TYPES = frozenset(
    {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE, TensorProto.BOOL}
    | {TensorProto.INT8, TensorProto.INT32, TensorProto.INT64, TensorProto.UINT8}
)
"""Types that a tensor may have; uint8 at the network's ends only."""
_WEIGHT_TYPES = {TensorProto.FLOAT8E4M3FN, TensorProto.INT4, TensorProto.FLOAT4E2M1, TensorProto.FLOAT8E8M0}
"""Further types that a constant before a dequantizer may have."""
_WIDE_INTEGERS = frozenset({TensorProto.INT32, TensorProto.INT64, TensorProto.UINT8})
_TAKE_UINT8 = frozenset({"Cast", "CastLike", "Identity", "QuantizeLinear", "DequantizeLinear", "Shape", "Size"})
_GATES = {
    "Relu",
    "Tanh",
    "Sigmoid",
    "LeakyRelu",
    "ThresholdedRelu",
    "ScaledTanh",
    "HardSigmoid",
    "Elu",
    "Softsign",
    "Softplus",
}


@dataclass(frozen=True)
class ParserRule:
    """One form of some operators that TensorRT's parser refuses.

    Attributes:
        operators: The operators; empty for any.
        breaks: Tells whether a use has this form.
        found: What is so.
        fix: What to do.
    """

    operators: frozenset[str]
    breaks: Callable[[Use], bool]
    found: str
    fix: str


def refusal(graph: Graph, node: onnx.NodeProto) -> tuple[str, str] | None:
    """Returns why TensorRT's parser does not take a node, and what to do; None if it does.

    Args:
        graph: The network, legalized.
        node: One of its nodes.
    """
    use = Use(graph, node)
    for rule in PARSER_RULES:
        if (not rule.operators or node.op_type in rule.operators) and rule.breaks(use):
            return rule.found, rule.fix
    return None


def bad_types(graph: Graph) -> list[tuple[str, str]]:
    """Returns the inputs and constants whose data type TensorRT has not, each with the type's name."""
    kinds = {name: graph.types.get(name) for name in graph.inputs}
    kinds |= {name: tensor.data_type for name, tensor in graph.constants.items()}
    allowed = _TYPES | _WEIGHT_TYPES
    return [(name, _name(kind)) for name, kind in kinds.items() if kind and kind not in allowed]


def _name(kind: int) -> str:
    return str(TensorProto.DataType.Name(kind)).lower()


def _rule(operators: str, breaks: Callable[[Use], bool], found: str, fix: str) -> ParserRule:
    return ParserRule(frozenset(operators.split()), breaks, found, fix)


def _unknown(use: Use) -> bool:
    node = use.node
    standard = node.domain in _STANDARD_DOMAINS and onnx.defs.has(node.op_type)
    return node.op_type in UNKNOWN_OPERATORS or not standard


def _cast_to(use: Use, kinds: frozenset[int]) -> bool:
    return use.get("to", 0) in kinds


def _uint8_inside(use: Use) -> bool:
    if use.node.op_type == "Cast":
        return use.get("to") == TensorProto.UINT8 and use.node.output[0] not in use.graph.outputs
    if use.node.op_type in _TAKE_UINT8:
        return False
    return any(use.kind(index) == TensorProto.UINT8 for index, name in enumerate(use.node.input) if name)


def _reads_int8_constant(use: Use) -> bool:
    constants = [use.graph.constants.get(name) for name in use.node.input]
    reads = any(tensor is not None and tensor.data_type == TensorProto.INT8 for tensor in constants)
    return reads and use.node.op_type not in ("QuantizeLinear", "DequantizeLinear")


def _resized_axes(use: Use) -> set[int]:
    """Returns the axes that change their size, counted from the end."""
    before, after = use.graph.shapes.get(use.input(0)), use.graph.shapes.get(use.node.output[0])
    if before is None or after is None:
        return set()
    return {axis - len(before) for axis, (old, new) in enumerate(zip(before, after, strict=True)) if old != new}


def _size_from_data(use: Use) -> bool:
    return any(use.from_data(index) for index in range(1, len(use.node.input)))


_EXPORT = "Replace it by standard ONNX operators and export again."
_FLOATS = "Cast to float32 before it."
PARSER_RULES = (
    _rule("", _unknown, "TensorRT has no such operator.", _EXPORT),
    _rule(
        "RoiAlign NonZero",
        lambda _: True,
        "TensorRT has it only as a plugin, and TensorRT-RTX not at all.",
        "Check that the device's TensorRT has its plugin library, or do without.",
    ),
    _rule(
        "Cast",
        lambda use: _cast_to(use, frozenset(TensorProto.DataType.values()) - _TYPES),
        "it casts to a type that TensorRT has not inside a network.",
        "Cast to int32 or float32 instead.",
    ),
    _rule("", _uint8_inside, "TensorRT has no uint8 inside a network.", "Cast to int32 or float32 instead."),
    _rule(
        "",
        _reads_int8_constant,
        "it reads a constant of int8, which only a dequantizer may.",
        "Store the constant as int32 or float32.",
    ),
    _rule("Relu", lambda use: use.kind() == TensorProto.INT32, "it works on int32.", _FLOATS),
    _rule(
        "MatMul Gemm PRelu ReduceL2 ReduceLogSum ReduceLogSumExp",
        lambda use: use.kind() in _WIDE_INTEGERS | {TensorProto.INT8},
        "it works on integers, and TensorRT's on floats only.",
        _FLOATS,
    ),
    _rule("Resize Upsample MaxPool Einsum", lambda use: use.kind() in _WIDE_INTEGERS, "it works on integers.", _FLOATS),
    _rule(
        "Resize Upsample DepthToSpace SpaceToDepth",
        lambda use: use.kind() == TensorProto.BOOL,
        "it works on truth values.",
        _FLOATS,
    ),
    _rule(
        "Mod",
        lambda use: not use.get("fmod", 0) and use.kind() not in {TensorProto.INT32, TensorProto.INT64, None},
        "a remainder with fmod 0 is neither of int32 nor of int64.",
        "Set fmod to 1.",
    ),
    _rule(
        "Resize",
        lambda use: use.get("coordinate_transformation_mode") == "tf_crop_and_resize",
        "it crops while it resizes.",
        "Slice first, then resize.",
    ),
    _rule(
        "Resize",
        lambda use: use.get("coordinate_transformation_mode") == "half_pixel_symmetric",
        "its coordinates are half_pixel_symmetric.",
        "Export it with half_pixel, which is the same where scale times size is a whole number.",
    ),
    _rule(
        "Resize",
        lambda use: (
            use.get("coordinate_transformation_mode") == "tf_half_pixel_for_nn"
            and use.get("mode", "nearest") == "nearest"
            and use.get("nearest_mode", "round_prefer_floor") != "round_prefer_floor"
        ),
        "tf_half_pixel_for_nn rounds other than round_prefer_floor.",
        "Export it with half_pixel, or with this rounding.",
    ),
    _rule(
        "Resize",
        lambda use: bool(use.get("antialias", 0)),
        "it resizes with antialiasing.",
        "Export it without, or average-pool instead.",
    ),
    _rule(
        "Resize",
        lambda use: use.get("keep_aspect_ratio_policy", "stretch") != "stretch",
        "it keeps the aspect ratio by itself.",
        "Export it with fixed sizes and the policy stretch.",
    ),
    _rule(
        "Resize",
        lambda use: use.get("mode") == "cubic" and _resized_axes(use) - {-1, -2} != set(),
        "cubic resizing works on other axes than the last two.",
        "Transpose first, or resize linearly.",
    ),
    _rule("Resize Upsample", _size_from_data, "the data decide its size.", "Fix the size."),
    _rule(
        "MaxPool AveragePool LpPool",
        lambda use: too_large(use.node),
        "its window has more elements than TensorRT takes, 99999 over two axes.",
        "Pool in two steps, or take the mean over the axes.",
    ),
    _rule(
        "MaxPool AveragePool LpPool",
        lambda use: use.any_not_one("dilations"),
        "pooling is dilated.",
        "Pool without dilation and train again.",
    ),
    _rule(
        "MaxPool",
        lambda use: use.outputs() > 1,
        "the indices of max pooling are read.",
        "Upsample by resizing or a transposed convolution.",
    ),
    _rule("LpPool", lambda use: use.get("p", 2) not in (1, 2), "its norm is neither of 1 nor of 2.", "Take p = 2."),
    _rule("LpPool", lambda use: use.rank() == 3, "it pools over one axis.", "Add an axis of size 1 first."),
    _rule(
        "ConvTranspose",
        lambda use: use.any_not_one("dilations") and use.any_not_one("strides"),
        "a transposed convolution has strides and dilations.",
        "Use one of the two.",
    ),
    _rule(
        "BatchNormalization",
        lambda use: bool(use.get("training_mode", 0)),
        "it is in training mode.",
        "Put the network in eval mode and export again.",
    ),
    _rule(
        "Dropout",
        lambda use: bool(np.any(use.value(2))) if use.value(2) is not None else False,
        "it is in training mode.",
        "Put the network in eval mode and export again.",
    ),
    _rule(
        "LayerNormalization",
        lambda use: use.outputs() > 1,
        "it gives mean or deviation as well.",
        "Export it with one output.",
    ),
    _rule(
        "LRN",
        lambda use: use.get("size", 1) % 2 == 0 or not 1 <= use.get("size", 1) <= 15,
        "its window is not odd, or beyond 15.",
        "Take an odd size from 1 to 15.",
    ),
    _rule("LRN", lambda use: use.rank() in (1, 2, 3), "it has fewer than four axes.", "Add axes of size 1 first."),
    _rule(
        "Softmax LogSoftmax Hardmax ArgMax ArgMin TopK",
        lambda use: use.rank() == 1 and use.version() >= 13,
        "its input has one axis only.",
        "Add an axis of size 1 first.",
    ),
    _rule(
        "ReduceMean ReduceSum ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp "
        "ReduceSumSquare",
        lambda use: use.from_data(1),
        "the data decide its axes.",
        "Fix the axes.",
    ),
    _rule(
        "TopK",
        lambda use: (count := use.value(1)) is not None and int(count.max()) > _MOST_TOP,
        f"it takes more than {_MOST_TOP} elements.",
        "Take fewer.",
    ),
    _rule(
        "ScatterND ScatterElements Scatter",
        lambda use: use.get("reduction", "none") != "none",
        "it reduces where it writes.",
        "Gather, add, and scatter without reduction; or write one-hot products.",
    ),
    _rule("LSTM", lambda use: bool(use.get("input_forget", 0)), "input and forget gates are coupled.", "Part them."),
    _rule(
        "GRU LSTM RNN",
        lambda use: bool({name.decode() for name in use.get("activations", ())} - _GATES),
        "its gates have an activation that TensorRT has not.",
        f"Take one of {', '.join(sorted(_GATES))}.",
    ),
    _rule(
        "Einsum",
        lambda use: str(use.get("equation")).lower() != str(use.get("equation")),
        "its equation has capital letters.",
        "Use small letters.",
    ),
    _rule(
        "Constant",
        lambda use: any(use.has(name) for name in ("sparse_value", "value_string", "value_strings")),
        "it is a sparse or text constant.",
        "Store it as a dense tensor of numbers.",
    ),
    _rule(
        "ConstantOfShape",
        lambda use: use.has("value") and use.get("value").data_type == TensorProto.UINT8,
        "it makes uint8.",
        "Make int32.",
    ),
    _rule(
        "",
        lambda use: any(len(use.graph.shapes.get(name) or ()) > _MOST_AXES for name in use.node.output),
        f"its result has more than {_MOST_AXES} axes.",
        "Merge axes before.",
    ),
)
"""The rules; the first that a node breaks is told."""
