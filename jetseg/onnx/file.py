"""Reads and writes ONNX files as untrusted data: whole, once, and with nothing outside their own folder.

A file is parsed by nobody else: its weights are put inside, wherever they lay, and whoever computes gets the result as
bytes. A parser that gets a path would look for weights by rules of its own.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError, EncodeError

from jetseg.errors import ArtifactError
from jetseg.onnx.tensors import MOST_BYTES, check_sizes, flush_subnormals_
from jetseg.onnx.weight_files import put_weights_inside_, read_at_most


@dataclass(frozen=True)
class OnnxContent:
    """What was read from an ONNX file, and from the files with its weights, each of them once.

    Attributes:
        model: The network, all weights inside.
        sha256: Hash of the bytes that were read, as 64 hexadecimal digits. It is the file's where all weights lie
            inside. Otherwise it is that of a text: the file's hash on the first line, then for each file with weights,
            sorted by name, its name within the folder and its hash.
        weight_files: The other files that held weights, sorted by name.
    """

    model: onnx.ModelProto
    sha256: str
    weight_files: tuple[Path, ...]


def load_onnx(path: Path, sha256: str | None = None) -> onnx.ModelProto:
    """Loads an ONNX file with all its weights, to compute with it; see also `flush_subnormals_`.

    Args:
        path: ONNX file.
        sha256: The hash that it had when it was checked; None for a file that nothing was found out about yet.

    Raises:
        ArtifactError: See `read_onnx`; or it was replaced since it was checked.
    """
    content = read_onnx(path)
    if sha256 not in (None, content.sha256):
        raise ArtifactError(
            f"{path} is not the file that was checked: its SHA-256 differs, so it was changed since.",
            "Leave it while it is in use, and start again.",
        )
    flush_subnormals_(content.model)
    return content.model


def read_onnx(path: Path) -> OnnxContent:
    """Reads an ONNX file with all its weights.

    Raises:
        ArtifactError: The file is missing, no ONNX file, truncated or too large; a tensor has another size than it
            says; or its weights are missing, lie outside the file's folder, or are not all there.
    """
    content = _read(path)
    digest = hashlib.sha256(content).hexdigest()
    model = _parse(path, content)
    del content  # a second copy of the weights
    digests = put_weights_inside_(path, model)
    check_sizes(path, model)
    _check_nodes(path, model)
    if digests:
        lines = [digest, *(f"{name} {of_weights}" for name, of_weights in digests.items())]
        digest = hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()
    return OnnxContent(model, digest, tuple(path.parent / name for name in digests))


def is_onnx(path: Path) -> bool:
    """Tells whether a file holds an ONNX network, whatever its name."""
    try:
        _parse(path, _read(path))
    except ArtifactError:
        return False
    return True


def write_onnx(path: Path, model: onnx.ModelProto) -> None:
    """Writes an ONNX file, weights inside, to a place that nobody reads yet; see `jetseg.artifact_file.save_onnx`."""
    path.write_bytes(to_bytes(model, str(path)))


def to_bytes(model: onnx.ModelProto, name: str) -> bytes:
    """Serializes a network, its weights inside.

    Args:
        model: The network.
        name: What it is called in messages.

    Raises:
        ArtifactError: It is larger than the format allows, 2 GB.
    """
    try:
        return bytes(model.SerializeToString())
    except (ValueError, EncodeError) as error:
        raise _too_large(name) from error


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise ArtifactError(f"{path} does not exist.", "Check the path.")
    content = read_at_most(path, MOST_BYTES)
    if content is None:
        raise _too_large(str(path))
    return content


def _parse(path: Path, content: bytes) -> onnx.ModelProto:
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except (DecodeError, UnicodeDecodeError) as error:
        raise ArtifactError(
            f"{path} is not a whole ONNX file.", "It may be truncated; copy or export it again."
        ) from error
    model.DiscardUnknownFields()  # a runtime of another version might know them, and what they hold was not checked
    if not model.graph.node:
        raise ArtifactError(f"{path} holds no network.", "Check that it is an ONNX file, and export it again.")
    return model


def _check_nodes(path: Path, model: onnx.ModelProto) -> None:
    """Refuses nodes that lack what their operator needs: all who read the graph count on inputs and attributes.

    Each node has an output, by which it is named. Operators that ONNX does not have, and those with branches, are
    otherwise left to whoever runs them.
    """
    context = onnx.checker.C.CheckerContext()
    try:
        context.ir_version = model.ir_version
        context.opset_imports = {entry.domain: entry.version for entry in model.opset_import}
        for node in model.graph.node:
            if not any(node.output):
                raise ValueError(f"node {node.name!r} ({node.op_type}) gives nothing")
            has_branches = any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute)
            if onnx.defs.has(node.op_type, node.domain) and not has_branches:
                onnx.checker.check_node(node, context)
    except (onnx.checker.ValidationError, ValueError, TypeError, RuntimeError) as error:  # a version of 50 bits
        reason = str(error).split("\n", 1)[0]
        raise ArtifactError(f"{path} holds no sound network: {reason}.", "Export it again.") from error


def _too_large(name: str) -> ArtifactError:
    return ArtifactError(
        f"{name} is larger than 2 GB, which is the most that an ONNX network can hold with its weights inside.",
        "Use a smaller network; one for a camera has some ten megabytes.",
    )
