"""Reads and writes ONNX files as untrusted data: whole, and with nothing outside their own folder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError, Message

from jetseg.errors import ArtifactError
from jetseg.storage import sha256_file, write_bytes


def load_onnx(path: Path, *, weights: bool = True) -> onnx.ModelProto:
    """Loads an ONNX file, checking where its weights lie before they are opened.

    Args:
        path: ONNX file.
        weights: False leaves weights that lie in other files unread.

    Raises:
        ArtifactError: The file is missing, no ONNX file, truncated, or its external data is missing or lies
            outside the file's folder.
    """
    model = _parse(path)
    if _weight_files(path, model) and weights:
        try:
            onnx.load_external_data_for_model(model, str(path.parent))
        except (ValueError, OSError, onnx.checker.ValidationError) as error:
            raise ArtifactError(
                f"{path} keeps weights in another file, which is damaged: {error}.", "Copy both files again."
            ) from error
    return model


def is_onnx(path: Path) -> bool:
    """Tells whether a file holds an ONNX network, whatever its name."""
    try:
        _parse(path)
    except ArtifactError:
        return False
    return True


def weight_files(path: Path) -> tuple[Path, ...]:
    """Returns the other files that hold weights of an ONNX file, sorted by name; see `load_onnx` for what it raises."""
    return _weight_files(path, _parse(path))


def onnx_sha256(path: Path) -> str:
    """Returns the SHA-256 of a network, weights in other files included, as 64 hexadecimal digits.

    It is the hash of the file itself where all weights lie inside. Otherwise it is the hash of a text: the file's hash
    on the first line, then for each file with weights, sorted by name, its name within the folder and its hash.

    Raises:
        ArtifactError: See `load_onnx`.
    """
    files = weight_files(path)
    if not files:
        return sha256_file(path)
    lines = [sha256_file(path), *(f"{file.relative_to(path.parent).as_posix()} {sha256_file(file)}" for file in files)]
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


def save_onnx(path: Path, model: onnx.ModelProto) -> None:
    """Writes an ONNX file atomically, weights inside."""
    write_bytes(path, model.SerializeToString())


def _parse(path: Path) -> onnx.ModelProto:
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
    return model


def _weight_files(path: Path, model: onnx.ModelProto) -> tuple[Path, ...]:
    places = {
        _external_place(path, tensor) for tensor in _tensors(model) if tensor.data_location == onnx.TensorProto.EXTERNAL
    }
    return tuple(path.parent / place for place in sorted(places))


def _external_place(path: Path, tensor: onnx.TensorProto) -> str:
    """Returns where a tensor's values lie, within the folder of the ONNX file."""
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
    return target.relative_to(folder).as_posix()


def _tensors(message: Message) -> Iterator[onnx.TensorProto]:
    """Yields all tensors, wherever they lie: initializers, attributes, branches, functions, sparse ones."""
    if isinstance(message, onnx.TensorProto):
        yield message
    if isinstance(message, onnx.TensorProto | onnx.ValueInfoProto):
        return  # a description of an activation, of which a network has hundreds, holds no tensor
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in [value] if isinstance(value, Message) else value:
                yield from _tensors(inner)
