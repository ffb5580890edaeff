"""Reads and writes ONNX files as untrusted data: whole, and with nothing outside their own folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from jetseg.errors import ArtifactError
from jetseg.storage import write_bytes


def load_onnx(path: Path, *, weights: bool = True) -> onnx.ModelProto:
    """Loads an ONNX file, checking where its weights lie before they are opened.

    Args:
        path: ONNX file.
        weights: False leaves weights that lie in other files unread.

    Raises:
        ArtifactError: The file is missing, no ONNX file, truncated, or its external data is missing or lies
            outside the file's folder.
    """
    if not path.is_file():
        raise ArtifactError(f"{path} does not exist.", "Check the path.")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except DecodeError as error:
        raise ArtifactError(
            f"{path} is not a whole ONNX file.", "It may be truncated; copy or export it again."
        ) from error
    if not model.graph.node:
        raise ArtifactError(f"{path} holds no network.", "Check that it is an ONNX file, and export it again.")
    for tensor in _tensors(model.graph):
        _check_external(path, tensor)
    if weights:
        try:
            onnx.load_external_data_for_model(model, str(path.parent))
        except (ValueError, OSError, onnx.checker.ValidationError) as error:
            raise ArtifactError(
                f"{path} keeps weights in another file, which is damaged: {error}.", "Copy both files again."
            ) from error
    return model


def has_external_data(path: Path) -> bool:
    """Tells whether an ONNX file keeps weights in other files; see `load_onnx` for what it raises."""
    model = load_onnx(path, weights=False)
    return any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in _tensors(model.graph))


def save_onnx(path: Path, model: onnx.ModelProto) -> None:
    """Writes an ONNX file atomically, weights inside."""
    write_bytes(path, model.SerializeToString())


def _check_external(path: Path, tensor: onnx.TensorProto) -> None:
    if tensor.data_location != onnx.TensorProto.EXTERNAL:
        return
    location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
    folder = path.parent.resolve()
    target = (folder / location).resolve()
    if not location or not target.is_relative_to(folder):
        raise ArtifactError(
            f"{path} wants to read the weights {tensor.name} from {location!r}, outside its own folder.",
            "Do not use this file unless you trust it; if you do, save it again with its weights inside.",
        )
    if not target.is_file():
        raise ArtifactError(
            f"{path} keeps the weights {tensor.name} in {location}, and that file is not beside it.",
            "Copy it there as well, or export the network with its weights inside.",
        )


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Yields all weights of a graph, those of constant nodes and nested graphs included."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for nested in (attribute.g, *attribute.graphs):
                yield from _tensors(nested)
