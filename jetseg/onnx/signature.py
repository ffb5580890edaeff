"""What goes into a network and comes out of it, checked against its manifest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from jetseg.config import changed
from jetseg.errors import ManifestError
from jetseg.input_spec import InputSpec
from jetseg.manifest import Manifest
from jetseg.output_shape import check_output


def input_shape(spec: InputSpec) -> tuple[int, ...]:
    """Returns the shape of a network's input, batch 1.

    >>> input_shape(InputSpec(height=2, width=4)), input_shape(InputSpec(height=2, width=4, kind="frame"))
    ((1, 3, 2, 4), (1, 2, 4, 3))
    """
    channels = 3 if spec.kind == "frame" else spec.channels
    if size_axes(spec) == (1, 2):
        return (1, spec.height, spec.width, channels)
    return (1, channels, spec.height, spec.width)


def size_axes(spec: InputSpec) -> tuple[int, int]:
    """Returns the axes of a network's input that are height and width."""
    return (1, 2) if spec.kind == "frame" or spec.layout == "nhwc" else (2, 3)


def check_signature(path: Path, model: onnx.ModelProto, manifest: Manifest) -> None:
    """Checks the input and the outputs that the manifest means, as far as the file tells their shapes.

    Half precision passes for float32, which it becomes.

    Args:
        path: The network's file.
        model: Its content; weights are not looked at.
        manifest: Its manifest.

    Raises:
        ManifestError: One of them is not there, or not what the manifest says.
    """
    for value in (*model.graph.input, *model.graph.output):
        if value.type.WhichOneof("value") not in ("tensor_type", None):
            raise ManifestError(f"{path}: {value.name} is no tensor.", "Export the network with tensors at its ends.")
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = {value.name: value.type.tensor_type for value in model.graph.input if value.name not in constants}
    outputs = {value.name: value.type.tensor_type for value in model.graph.output}
    name = pick_tensor(path, "input", list(inputs), manifest.input.name)
    found, wanted = _numpy_type(inputs[name]), "uint8" if manifest.input.kind == "frame" else "float32"
    check_input(path, name, str(found), _sizes(inputs[name]), wanted, manifest.input)
    for task in manifest.tasks:
        name = pick_tensor(path, "output", list(outputs), task.output.name)
        if outputs[name].HasField("shape"):
            check_output(f"{path}: output {name}", _sizes(outputs[name]), _numpy_type(outputs[name]), task)
        if task.output.activation == "sigmoid" and task.output.kind == "logits":
            _refuse_two_sigmoids(path, name, model)


def _refuse_two_sigmoids(path: Path, name: str, model: onnx.ModelProto) -> None:
    if any(node.op_type == "Sigmoid" and name in node.output for node in model.graph.node):
        raise ManifestError(
            f"{path}: output {name} comes out of a sigmoid, and the manifest says that one is still to be applied.",
            "Set `activation: none` for the manifest's output.",
        )


def _numpy_type(kind: onnx.TypeProto.Tensor) -> np.dtype[Any]:
    if kind.elem_type == onnx.TensorProto.FLOAT16:
        return np.dtype(np.float32)
    known = kind.elem_type in onnx.helper.get_all_tensor_dtypes()  # sequences and optional values are of no such type
    return onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type) if known else np.dtype(object)


def _sizes(kind: onnx.TypeProto.Tensor) -> list[int | str | None]:
    return [size.dim_value if size.HasField("dim_value") else size.dim_param or None for size in kind.shape.dim]


def pick_tensor(path: Path, role: str, names: Sequence[str], wanted: str | None) -> str:
    """Picks the input or output that the manifest means.

    Args:
        path: The network's file.
        role: "input" or "output".
        names: Those that the network has.
        wanted: The one that the manifest names, if any.

    Raises:
        ManifestError: There are several and the manifest names none, or the one that it names does not exist.
    """
    if wanted is not None:
        if wanted not in names:
            raise ManifestError(f"{path} has no {role} named {wanted}.", f"Its {role}s are: {', '.join(names)}.")
        return wanted
    if len(names) != 1:
        raise ManifestError(
            f"{path} has {len(names)} {role}s: {', '.join(names)}.",
            f"Name the one to use as `{role}.name` in the manifest.",
        )
    return names[0]


def check_input(
    path: Path, name: str, kind: object, shape: Sequence[int | str | None], wanted: object, spec: InputSpec
) -> None:
    """Refuses an input that is not of the type (`wanted`) and the shape that the manifest says.

    Names, None and -1 in its shape stand for any size.

    Raises:
        ManifestError: It differs.
    """
    expected = input_shape(spec)
    if kind != wanted or not _fits(shape, expected):
        raise ManifestError(
            f"{path}: input {name} is {kind} of shape {list(shape)}, but the manifest says {wanted} of shape "
            f"{list(expected)} (input.kind {spec.kind}).",
            _advice(shape, spec),
        )


def _advice(shape: Sequence[int | str | None], spec: InputSpec) -> str:
    """Returns which key of the manifest to change."""
    for layout in ("nhwc", "nchw"):
        if layout != spec.layout and _fits(shape, input_shape(changed(spec, kind="normalized", layout=layout))):
            return f"Set `layout: {layout}` for the manifest's input (`kind: frame` for uint8 frames)."
    return "Correct the manifest's input."


def _fits(shape: Sequence[int | str | None], expected: tuple[int, ...]) -> bool:
    return len(shape) == len(expected) and all(
        not isinstance(size, int) or size in (wanted, -1) for size, wanted in zip(shape, expected, strict=True)
    )
