"""Opened networks: a file, its manifest and its hash, checked once and handed on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from jetseg.errors import ArtifactError
from jetseg.manifest import Kind, Manifest
from jetseg.manifest_file import manifest_path, read_manifest, write_manifest
from jetseg.onnx.file import is_onnx, load_onnx, onnx_sha256
from jetseg.onnx.float_graph import load_float_graph
from jetseg.onnx.graph import Graph
from jetseg.onnx.signature import check_signature, pick_tensor
from jetseg.provenance import device_name, toolchain
from jetseg.shipped import find_artifact, shipped_names
from jetseg.storage import sha256_file


@dataclass(frozen=True)
class Network:
    """A network in a file: checkpoint, ONNX file or engine.

    Attributes:
        path: The file.
        manifest: What goes in, what comes out, where it came from.
        sha256: Hash of the file, weights in other files included.
    """

    path: Path
    manifest: Manifest
    sha256: str

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

    @cached_property
    def _graph(self) -> Graph:
        return load_float_graph(self.path)

    @cached_property
    def image_input(self) -> str:
        """Name of the graph's input that takes the image.

        Raises:
            ManifestError: There are several inputs, and the manifest names none.
        """
        return pick_tensor(self.path, "input", self._graph.inputs, self.manifest.input.name)


def open_network(path: Path | str, manifest: Path | str | None = None) -> Network:
    """Opens a network of any kind, and checks that it is the one that its manifest describes.

    Args:
        path: Checkpoint, ONNX file or engine, or the name of a network that comes with jetseg, as in "camvid-light".
        manifest: A manifest elsewhere (JSON or YAML); by default the one beside the file.

    Raises:
        ArtifactError: The file does not exist, or its hash differs from the one recorded.
        ManifestError: The manifest does not exist, is malformed, or says something else than the file about its input
            or output.

    >>> open_network("camvid-light").manifest.classes[:3]
    ('sky', 'building', 'pole')
    """
    found = find_artifact(Path(path))
    if not found.is_file():
        names = ", ".join(shipped_names())
        hint = "Check the path." if found.suffix else f"Networks that come with jetseg: {names}."
        raise ArtifactError(f"{found} does not exist.", hint)
    place = Path(manifest) if manifest else manifest_path(found)
    described = read_manifest(place, found)
    try:
        digest = artifact_sha256(found, described.kind)
    except ArtifactError as error:  # a file that is no ONNX file any more
        _check_hash(found, place, described, sha256_file(found), error)
        raise
    _check_hash(found, place, described, digest)
    if found.suffix == ".onnx":
        check_signature(found, load_onnx(found, weights=False), described)
    return Network(found, described, digest)


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
    with_weights = path.suffix.lower() == ".onnx" or (kind == "onnx" and is_onnx(path))
    return onnx_sha256(path) if with_weights else sha256_file(path)


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
    complete = manifest.changed(
        sha256=artifact_sha256(artifact, manifest.kind),
        toolchain=toolchain() | dict(versions or {}),
        device=device or device_name(),
    )
    write_manifest(manifest_path(artifact), complete)
    return complete
