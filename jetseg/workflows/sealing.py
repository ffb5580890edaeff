"""Gives a manifest the hashes that opening it asks for, because its owner says that it is right."""

from __future__ import annotations

from pathlib import Path

from jetseg.engine.proof import prove
from jetseg.errors import ArtifactError
from jetseg.manifest_file import manifest_path, read_manifest, write_manifest
from jetseg.network import Network, artifact_sha256, open_network


def seal(path: Path | str) -> Network:
    """Writes the manifest beside a file again, with its hashes.

    For a manifest that an older version wrote without them, or that was changed on purpose, as in the name of a class.
    What an engine's proof holds, that is how frames are prepared, stays as it was built.

    Args:
        path: Checkpoint, ONNX file or engine.

    Returns:
        The file, opened as every other.

    Raises:
        ArtifactError: The file is not the one that the manifest describes.
        ManifestError: The manifest does not exist or is malformed.
    """
    artifact = Path(path)
    place = manifest_path(artifact)
    manifest = read_manifest(place, artifact, sealed=False)
    if not artifact.is_file():
        raise ArtifactError(f"{artifact} does not exist.", "Check the path.")
    digest = artifact_sha256(artifact, manifest.kind)
    if manifest.sha256 not in (None, digest):
        raise ArtifactError(
            f"{artifact} is not the file that {place.name} describes: its SHA-256 differs.",
            "Take the file that belongs to it, or make it anew.",
        )
    proof = manifest.proof
    if proof is None and manifest.kind == "engine":
        proof = prove(manifest)
    write_manifest(place, manifest.changed(sha256=digest, proof=proof))
    return open_network(artifact)
