"""Which operators, in which forms, quantization-aware training can compute: for it, and for whoever foretells it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from onnx import TensorProto

Attributes = Mapping[str, Any]
TRAINABLE_TYPES = frozenset(
    {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.UINT8, TensorProto.INT8}
    | {TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL}
)
"""Types that a Cast may make."""
_COORDINATES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")


def untrainable(operator: str, attributes: Attributes) -> str | None:
    """Returns what an operator is, if it cannot be trained; None if it can.

    Args:
        operator: Its ONNX name.
        attributes: Its attributes, as `jetseg.onnx.node.attributes` gives them.

    >>> untrainable("Erf", {}), untrainable("ArgMax", {"select_last_index": 1}), untrainable("Relu", {})
    ('an operator that cannot be trained', 'of a form that cannot be trained: select_last_index', None)
    """
    if operator not in TRAINABLE_OPERATORS:
        return "an operator that cannot be trained"
    form = _FORMS.get(operator)
    what = form(attributes) if form else None
    return f"of a form that cannot be trained: {what}" if what else None


TRAINABLE_OPERATORS = frozenset(
    (  # noqa: SIM905 - so many names read better in lines
        "Add ArgMax AveragePool BatchNormalization Cast Clip Concat Conv ConvTranspose Div Flatten Gather Gemm "
        "GlobalAveragePool HardSigmoid HardSwish Identity LeakyRelu MatMul MaxPool Mul PRelu ReduceMean Relu Reshape "
        "Resize Shape Sigmoid Slice Softmax Split Squeeze Sub Transpose Unsqueeze"
    ).split()
)
"""The operators beside quantizers and constants; `jetseg.compress.qat.operators` has a function for each."""


def _average_pool(attributes: Attributes) -> str | None:
    return "dilations" if any(step != 1 for step in attributes.get("dilations", ())) else None


def _batch_norm(attributes: Attributes) -> str | None:
    return "training_mode" if attributes.get("training_mode", 0) else None


def _arg_max(attributes: Attributes) -> str | None:
    return "select_last_index" if attributes.get("select_last_index", 0) else None


def _cast(attributes: Attributes) -> str | None:
    return None if attributes.get("to") in TRAINABLE_TYPES else f"data type {attributes.get('to')}"


def _conv_transpose(attributes: Attributes) -> str | None:
    padded = attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID")
    return "output_shape or auto_pad" if padded or attributes.get("output_shape") is not None else None


def _resize(attributes: Attributes) -> str | None:
    mode, where = attributes.get("mode", "nearest"), attributes.get("coordinate_transformation_mode", "half_pixel")
    antialias = attributes.get("antialias", 0)
    if mode not in ("nearest", "linear") or where not in _COORDINATES or antialias:
        return f"mode {mode}, coordinates {where}, antialias {antialias}"
    if attributes.get("keep_aspect_ratio_policy", "stretch") != "stretch":
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
