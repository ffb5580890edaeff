"""Types and shapes of a network's tensors, as far as they do not depend on data."""

from __future__ import annotations

import onnx

from jetseg.errors import ArtifactError

Shape = tuple[int | None, ...]
"""Sizes of a tensor; None stands for any."""


def infer_types(model: onnx.ModelProto) -> tuple[dict[str, int], dict[str, Shape]]:
    """Infers the types and shapes of all tensors.

    Args:
        model: The model; it is not changed.

    Returns:
        ONNX data types of inputs and activations, by name; shapes of all tensors, initializers included, by name.

    Raises:
        ArtifactError: The model is not sound.
    """
    noted = onnx.ModelProto()
    noted.CopyFrom(model)
    for value in noted.graph.value_info:
        kind = value.type.tensor_type
        if any(not dimension.HasField("dim_value") for dimension in kind.shape.dim):
            kind.ClearField("shape")  # what the exporter left open may be known now
    try:
        graph = onnx.shape_inference.infer_shapes(noted, data_prop=True).graph
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError, RuntimeError, ValueError) as error:
        raise ArtifactError(f"This is no sound network: {error}.", "Export it again.") from error
    types: dict[str, int] = {}
    shapes: dict[str, Shape] = {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        types[value.name] = kind.elem_type
        if kind.HasField("shape"):
            shapes[value.name] = tuple(
                dimension.dim_value if dimension.HasField("dim_value") else None for dimension in kind.shape.dim
            )
    shapes.update((tensor.name, tuple(tensor.dims)) for tensor in graph.initializer)
    return types, shapes
