"""Which operators, in which forms, quantization-aware training can compute: for it, and for whoever foretells it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import onnx
from onnx import TensorProto

from jetseg.onnx.lookup import GraphLookup
from jetseg.onnx.node import attributes

Attributes = Mapping[str, Any]
TRAINABLE_TYPES = frozenset(
    {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.UINT8, TensorProto.INT8}
    | {TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL}
)
"""Types that a Cast may make."""
_COORDINATES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")


def untrainable(graph: GraphLookup, node: onnx.NodeProto) -> str | None:
    """Returns what a node is, if it cannot be trained; None if it can.

    Args:
        graph: Tells which outputs of the node are read.
        node: No quantizer and no constant.
    """
    if node.op_type not in TRAINABLE_OPERATORS:
        return "an operator that cannot be trained"
    form = _FORMS.get(node.op_type)
    what = form(attributes(node)) if form else None
    further = [] if node.op_type == "Split" else node.output[1:]
    if what is None and any(name in graph.consumers or name in graph.outputs for name in further):
        what = "more than its first output is read"
    return f"of a form that cannot be trained: {what}" if what else None


TRAINABLE_OPERATORS = frozenset(
    (  # noqa: SIM905 - so many names read better in lines
        "Abs Add ArgMax AveragePool BatchNormalization Cast Clip Concat Conv ConvTranspose Div Einsum Erf Exp "
        "Expand Flatten Gather GatherND Gelu Gemm GlobalAveragePool HardSigmoid HardSwish Identity "
        "InstanceNormalization IsNaN LayerNormalization LeakyRelu MatMul Max MaxPool Min Mul Neg PRelu Pad Pow "
        "Reciprocal ReduceL2 ReduceMax ReduceMean ReduceSum Relu Reshape Resize Shape Sigmoid Slice Softmax "
        "Softplus Split Sqrt Squeeze Sub Sum Tanh Transpose Unsqueeze Where"
    ).split()
)
"""The operators beside quantizers and constants; `jetseg.compress.qat.operators` has a function for each."""


def _average_pool(given: Attributes) -> str | None:
    return "dilations" if any(step != 1 for step in given.get("dilations", ())) else None


def _batch_norm(given: Attributes) -> str | None:
    return "training_mode" if given.get("training_mode", 0) else None


def _arg_max(given: Attributes) -> str | None:
    return "select_last_index" if given.get("select_last_index", 0) else None


def _cast(given: Attributes) -> str | None:
    return None if given.get("to") in TRAINABLE_TYPES else f"data type {given.get('to')}"


def _conv_transpose(given: Attributes) -> str | None:
    padded = given.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID")
    return "output_shape or auto_pad" if padded or given.get("output_shape") is not None else None


def _resize(given: Attributes) -> str | None:
    mode, where = given.get("mode", "nearest"), given.get("coordinate_transformation_mode", "half_pixel")
    antialias = given.get("antialias", 0)
    if mode not in ("nearest", "linear") or where not in _COORDINATES or antialias:
        return f"mode {mode}, coordinates {where}, antialias {antialias}"
    if given.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        return "keep_aspect_ratio_policy"
    return None


_FORMS: Mapping[str, Callable[[Attributes], str | None]] = {
    "ArgMax": _arg_max,
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "ConvTranspose": _conv_transpose,
    "Resize": _resize,
}
