"""Writes artifacts with their manifests: both change in one step, or neither.

Two files cannot be renamed at once. So the new manifest comes to lie beside the old one first, under a name of its
own; renaming the artifact is the step that counts; and then the new manifest takes its place. A reader that comes in
between, as after a power cut, takes the manifest whose hash is the artifact's: see `jetseg.network.open_network`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import onnx

from jetseg.errors import ArtifactError
from jetseg.manifest import Manifest
from jetseg.manifest_file import manifest_path, pending_path, write_manifest
from jetseg.network import Network, artifact_sha256, completed, open_network, settle
from jetseg.onnx.file import write_onnx
from jetseg.storage import put, temporary_path, write_bytes, writing


class Draft:
    """An artifact under way.

    Attributes:
        path: Where to write it.
        manifest: What its manifest will say; set by `describe`, or as it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest: Manifest | None = None

    def describe(
        self, manifest: Manifest, *, device: str | None = None, versions: Mapping[str, str] | None = None
    ) -> Manifest:
        """Completes the manifest of what is written now; see `jetseg.network.save_manifest`."""
        self.manifest = completed(self.path, manifest, device=device, versions=versions)
        return self.manifest


@contextmanager
def new_artifact(path: Path) -> Iterator[Draft]:
    """Gives an artifact to write and to describe; in the end it is at `path` with its manifest.

    Raises:
        ConfigError: Another process writes there.
        StorageError: The disk is full or read-only, or the folder cannot be made.
    """
    with writing(path), temporary_path(path) as temporary:
        draft = Draft(temporary)
        yield draft
        if draft.manifest is None:
            raise ValueError(f"{path} was not described")
        settle(path)
        write_manifest(pending_path(path), draft.manifest)
        _publish(temporary, path)


def save_onnx(path: Path, model: onnx.ModelProto, manifest: Manifest) -> Manifest:
    """Writes an ONNX file, weights inside, with its manifest; returns what that says. See `new_artifact`."""
    with new_artifact(path) as draft:
        write_onnx(draft.path, model)
        return draft.describe(manifest)


def move_artifact(source: Path, target: Path) -> None:
    """Moves an artifact with its manifest to its place.

    Raises:
        ConfigError: Another process writes there.
        StorageError: The disk is full or read-only, or the folder cannot be made.
    """
    with writing(target):
        settle(target)
        write_bytes(pending_path(target), manifest_path(source).read_bytes())
        _publish(source, target)
        manifest_path(source).unlink()


def copy_artifact(source: Path, target: Path) -> None:
    """Copies an artifact with its manifest.

    Raises:
        ArtifactError: The source is not what its manifest describes.
        StorageError: The disk is full or read-only, or the folder cannot be made.
    """
    network = open_network(source)
    with new_artifact(target) as draft:
        shutil.copyfile(network.path, draft.path)
        draft.manifest = network.manifest


def remove_artifact(path: Path) -> None:
    """Removes an artifact with its manifest, if it is there."""
    for file in (path, manifest_path(path), pending_path(path)):
        file.unlink(missing_ok=True)


def rewrite_manifest(network: Network, manifest: Manifest) -> None:
    """Writes another manifest for an artifact that was opened.

    Raises:
        ArtifactError: It was replaced since.
        ConfigError: Another process writes there.
        StorageError: The disk is full or read-only.
    """
    with writing(network.path):
        if artifact_sha256(network.path, manifest.kind) != network.sha256:
            raise ArtifactError(f"{network.path} was replaced meanwhile.", "Do it again with the new one.")
        settle(network.path)
        write_manifest(manifest_path(network.path), manifest)


def _publish(source: Path, target: Path) -> None:
    put(source, target)
    put(pending_path(target), manifest_path(target))
