"""Opened networks: a file, its manifest and its hash, checked once and handed on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from jetseg.errors import ArtifactError, ConfigError, ManifestError, StorageError
from jetseg.manifest import Kind, Manifest
from jetseg.manifest_file import manifest_path, pending_path, read_manifest, write_manifest
from jetseg.onnx.file import OnnxContent, is_onnx, read_onnx
from jetseg.onnx.float_graph import load_float_graph
from jetseg.onnx.graph import Graph
from jetseg.onnx.signature import check_signature, pick_tensor
from jetseg.provenance import device_name, toolchain
from jetseg.shipped import find_artifact, shipped_names
from jetseg.storage import put, sha256_file, writing
from jetseg.trust import trust


@dataclass(frozen=True)
class Network:
    """A network in a file: checkpoint, ONNX file or engine.

    Attributes:
        path: The file.
        manifest: What goes in, what comes out, where it came from.
        sha256: Hash of the file, weights in other files included.
        weight_files: The other files that held weights when it was opened.
    """

    path: Path
    manifest: Manifest
    sha256: str
    weight_files: tuple[Path, ...] = ()

    @property
    def name(self) -> str:
        """Name of the file without its suffix."""
        return self.path.stem

    def float_graph(self) -> Graph:
        """Returns the graph of a float ONNX file, ready for calibration; each call gives a copy of its own.

        Raises:
            ArtifactError: The file is broken, quantized already, not float32, or has branches.
        """
        return self._graph.copy()

    def read(self) -> bytes:
        """Returns the content of the file, for libraries that take bytes; weights in other files are not in it.

        Raises:
            ArtifactError: It was replaced since it was opened.
        """
        content = self.path.read_bytes()
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise ArtifactError(
                f"{self.path} is not the file that was checked: its SHA-256 differs, so it was changed since.",
                "Leave it while it is in use, and start again.",
            )
        return content

    @cached_property
    def _graph(self) -> Graph:
        return load_float_graph(self.path, self.sha256)

    @cached_property
    def image_input(self) -> str:
        """Name of the graph's input that takes the image.

        Raises:
            ManifestError: There are several inputs, and the manifest names none.
        """
        return pick_tensor(self.path, "input", self._graph.inputs, self.manifest.input.name)


def open_network(path: Path | str, manifest: Path | str | None = None, *, trusted: Iterable[str] = ()) -> Network:
    """Opens a network of any kind, and checks that it is the one that its manifest describes.

    Args:
        path: Checkpoint, ONNX file or engine, or the name of a network that comes with jetseg, as in "camvid-light".
        manifest: A manifest elsewhere (JSON or YAML); by default the one beside the file.
        trusted: Factories, as package.module:factory, that the manifest of a checkpoint may name, in this process from
            now on. Jetseg's own networks and those of installed packages need not be named.

    Raises:
        ArtifactError: The file does not exist, or its hash differs from the one recorded.
        ManifestError: The manifest does not exist, is malformed, or says something else than the file about its input
            or output.

    >>> open_network("camvid-light").manifest.classes[:3]
    ('sky', 'building', 'pole')
    """
    trust(trusted)
    found = find_artifact(Path(path))
    _refuse_tensorflow(found)
    if not found.is_file():
        names = ", ".join(shipped_names())
        hint = "Check the path." if found.suffix else f"Networks that come with jetseg: {names}."
        raise ArtifactError(f"{found} does not exist.", hint)
    return _with(found, Path(manifest)) if manifest else _with_own_manifest(found)


def _refuse_tensorflow(path: Path) -> None:
    """Refuses what TensorFlow and Keras save; they export what can be read here."""
    saved_model = path.is_dir() and (path / "saved_model.pb").is_file()
    if saved_model or path.suffix.lower() in (".keras", ".h5", ".hdf5", ".pb"):
        raise ArtifactError(
            f"{path} is a model of TensorFlow or Keras, and jetseg reads none of these.",
            "Export it to ONNX (`model.export('net.onnx', format='onnx')` in Keras 3, or tf2onnx) or to LiteRT, and "
            "write a manifest beside it; docs/how-to/litert.md shows how.",
        )


def settle(artifact: Path) -> None:
    """Ends what a killed writer of an artifact began: its new manifest takes its place, or goes.

    Whoever calls it keeps other writers away; see `jetseg.storage.writing`.
    """
    pending = pending_path(artifact)
    if not pending.is_file():
        return
    with suppress(ArtifactError, ManifestError):
        if artifact.is_file() and _with(artifact, pending):
            put(pending, manifest_path(artifact))
    pending.unlink(missing_ok=True)


def _with_own_manifest(path: Path) -> Network:
    """Opens a file with its manifest: the one beside it, unless only one that a killed writer left is right.

    A writer may be at work while we look: then the manifest beside it is right when we look again.
    """
    own, pending = manifest_path(path), pending_path(path)
    with suppress(ArtifactError, ManifestError):
        network = _with(path, own)
        if network.manifest.sha256 is not None or not pending.is_file():
            return network
    with suppress(ArtifactError, ManifestError):
        network = _with(path, pending)
        with suppress(ConfigError, StorageError), writing(path):
            settle(path)
        return network
    return _with(path, own)


def _with(path: Path, place: Path) -> Network:
    """Opens a file, which is read once, with a manifest that may lie anywhere."""
    described = read_manifest(place, path)
    try:
        content = _onnx_content(path, described.kind)
    except ArtifactError as error:  # a file that is no ONNX file any more
        _check_hash(path, place, described, sha256_file(path), error)
        raise
    digest = content.sha256 if content else sha256_file(path)
    _check_hash(path, place, described, digest)
    if content is None:
        return Network(path, described, digest)
    check_signature(path, content.model, described)
    return Network(path, described, digest, content.weight_files)


def _check_hash(path: Path, place: Path, manifest: Manifest, digest: str, cause: ArtifactError | None = None) -> None:
    if manifest.sha256 not in (None, digest):
        raise ArtifactError(
            f"{path} is not the file that {place.name} describes: its SHA-256 differs, so it was truncated, "
            "damaged or replaced.",
            "Copy it again or build it anew.",
        ) from cause


def load_manifest(artifact: Path, manifest_file: Path | None = None) -> Manifest:
    """Returns the manifest of a file, after checking both; see `open_network`."""
    return open_network(artifact, manifest_file).manifest


def artifact_sha256(path: Path, kind: Kind | None = None) -> str:
    """Returns the hash of a file; weights that an ONNX file keeps in other files are part of it.

    Args:
        path: The file.
        kind: What its manifest says it is, which may be an ONNX file by another name.

    Raises:
        ArtifactError: An ONNX file is broken, or lacks the files that hold its weights.
    """
    content = _onnx_content(path, kind)
    return content.sha256 if content else sha256_file(path)


def _onnx_content(path: Path, kind: Kind | None) -> OnnxContent | None:
    """Reads an ONNX file, which may have another name if its manifest says what it is; None for all else."""
    return read_onnx(path) if path.suffix.lower() == ".onnx" or (kind == "onnx" and is_onnx(path)) else None


def save_manifest(
    artifact: Path, manifest: Manifest, *, device: str | None = None, versions: Mapping[str, str] | None = None
) -> Manifest:
    """Writes `<artifact>.json` with the artifact's hash and this toolchain; returns what was written.

    Args:
        artifact: The file that the manifest describes.
        manifest: All else.
        device: What the artifact was made for; this machine's processor by default.
        versions: Further versions that the artifact depends on.
    """
    complete = completed(artifact, manifest, device=device, versions=versions)
    write_manifest(manifest_path(artifact), complete)
    return complete


def completed(
    artifact: Path, manifest: Manifest, *, device: str | None = None, versions: Mapping[str, str] | None = None
) -> Manifest:
    """Returns a manifest with an artifact's hash and this toolchain; see `save_manifest`."""
    return manifest.changed(
        sha256=artifact_sha256(artifact, manifest.kind),
        toolchain=toolchain() | dict(versions or {}),
        device=device or device_name(),
    )
