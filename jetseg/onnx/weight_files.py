"""Weights that an ONNX file keeps in other files: found, checked, and put inside."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import onnx

from jetseg.errors import ArtifactError
from jetseg.onnx.tensors import MOST_BYTES, all_tensors, size_bytes

_MOST_SHARING = 4
"""How many times a file's bytes may be used: tensors may share them, but few bytes must not become a large network."""
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_OPENED = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


@dataclass(frozen=True)
class _Part:
    """Where the values of a tensor lie in a file."""

    tensor: onnx.TensorProto
    offset: int
    size: int


def put_weights_inside_(path: Path, model: onnx.ModelProto) -> dict[str, str]:
    """Fills in all weights that lie in other files, and leaves no reference to any file.

    Args:
        path: The ONNX file; weights must lie in its folder.
        model: What it holds; it is changed in place.

    Returns:
        SHA-256 of each file by its name within the folder, sorted. Each is read once.

    Raises:
        ArtifactError: A file is missing, outside the folder or too large, or a tensor's part of it is.
    """
    parts: dict[str, list[_Part]] = defaultdict(list)
    for tensor in all_tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            name, part = _part(path, tensor)
            parts[name].append(part)
        else:
            _forget_place_(tensor)
    room, digests = MOST_BYTES, {}
    for name in sorted(parts):
        content = read_at_most(path.parent.resolve() / name, room, follow=False)
        if content is None:
            raise ArtifactError(
                f"{path} keeps more than 2 GB of weights in other files, which is the most that a network can hold.",
                "Use a smaller network; one for a camera has some ten megabytes.",
            )
        room -= len(content)
        digests[name] = hashlib.sha256(content).hexdigest()
        _fill(path, name, content, parts[name])
    return digests


def _part(path: Path, tensor: onnx.TensorProto) -> tuple[str, _Part]:
    """Returns the name of the file with a tensor's values, and where they lie in it."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    if len(entries) != len(tensor.external_data):  # readers differ in which one they take
        raise ArtifactError(
            f"{path} says twice where the weights {tensor.name} lie.",
            "Do not use this file unless you trust it; if you do, save it again with its weights inside.",
        )
    numbers = {key: entries.get(key, "0") for key in ("offset", "length")}
    if not all(value.isascii() and value.isdigit() and len(value) < 20 for value in numbers.values()):
        raise ArtifactError(
            f"{path} places the weights {tensor.name} at offset {numbers['offset'][:20]!r}, with length "
            f"{numbers['length'][:20]!r}.",
            "Export it again.",
        )
    size = size_bytes(path, tensor)
    if "length" in entries and int(numbers["length"]) != size:
        raise ArtifactError(
            f"{path} gives the weights {tensor.name} {numbers['length']} bytes, and their shape and type ask for "
            f"{size}.",
            "Copy or export it again.",
        )
    return _place(path, tensor, entries.get("location", "")), _Part(tensor, int(numbers["offset"]), size)


def _place(path: Path, tensor: onnx.TensorProto, location: str) -> str:
    """Returns the name of a file within the folder of the ONNX file."""
    folder = path.parent.resolve()
    try:
        target = (folder / location).resolve()
        is_inside, exists = target.is_relative_to(folder), target.is_file()
    except (OSError, ValueError, RuntimeError):  # no name that a file could have; links in a ring
        is_inside = exists = False
    if not location or not is_inside:
        raise ArtifactError(
            f"{path} wants to read the weights {tensor.name} from {location[:200]!r}, outside its own folder.",
            "Do not use this file unless you trust it; if you do, save it again with its weights inside.",
        )
    if not exists:
        raise ArtifactError(
            f"{path} keeps the weights {tensor.name} in {location[:200]}, and that file is not beside it.",
            "Copy it there as well, or export the network with its weights inside.",
        )
    return target.relative_to(folder).as_posix()


def read_at_most(file: Path, most: int, *, follow: bool = True) -> bytes | None:
    """Reads a file; None if it has more bytes than `most`, of which none is read then.

    Args:
        file: The file.
        most: The bound.
        follow: Whether it may be a link.

    Raises:
        ArtifactError: It cannot be read.
    """
    try:
        with os.fdopen(os.open(file, _OPENED if follow else _OPENED | _NO_LINK), "rb") as opened:
            if os.fstat(opened.fileno()).st_size > most:
                return None
            content = opened.read(most + 1)
    except OSError as error:
        raise ArtifactError(f"{file} could not be read: {error.strerror}.", "Check the file and its owner.") from error
    return content if len(content) <= most else None


def _fill(path: Path, name: str, content: bytes, parts: list[_Part]) -> None:
    for part in parts:
        if part.offset + part.size > len(content):
            raise ArtifactError(
                f"{path} keeps the weights {part.tensor.name} in bytes {part.offset} to {part.offset + part.size} of "
                f"{name}, which is damaged: it has {len(content)}.",
                "Copy both files again.",
            )
    used = sum(part.size for part in parts)
    if used > _MOST_SHARING * len(content):
        raise ArtifactError(
            f"{path} makes {used} bytes of weights out of the {len(content)} bytes of {name}.",
            "Do not use this file unless you trust it; if you do, save it again with its weights inside.",
        )
    for part in parts:
        part.tensor.raw_data = content[part.offset : part.offset + part.size]
        _forget_place_(part.tensor)


def _forget_place_(tensor: onnx.TensorProto) -> None:
    tensor.ClearField("data_location")
    tensor.ClearField("external_data")
