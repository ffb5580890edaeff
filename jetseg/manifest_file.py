"""Manifests as files: each lies beside its artifact, in JSON or YAML, with the hash of its content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from jetseg.config import explain
from jetseg.errors import ManifestError
from jetseg.manifest import OF_THE_OUTPUT, Manifest
from jetseg.output_spec import OutputSpec
from jetseg.storage import write_text
from jetseg.text_data import TextDataError, read_data

_FORMAT_1_KEYS = {"outputs": "classes"} | {
    f"outputs.0.{key}": key if key in OF_THE_OUTPUT else f"output.{key}" for key in OutputSpec.model_fields
}
"""What format 1 calls the keys of format 2, for messages."""


def manifest_path(artifact: Path) -> Path:
    """Returns the place of an artifact's manifest."""
    return artifact.with_name(artifact.name + ".json")


def pending_path(artifact: Path) -> Path:
    """Returns where a new manifest lies until its artifact is in its place; see `jetseg.artifact_file`."""
    return artifact.with_name(f".{artifact.name}.json.next")


def has_manifest(artifact: Path) -> bool:
    """Tells whether an artifact has a manifest beside it."""
    return manifest_path(artifact).is_file() or pending_path(artifact).is_file()


def read_manifest(path: Path, artifact: Path, *, sealed: bool = True) -> Manifest:
    """Reads a manifest file in JSON or YAML.

    Args:
        path: The manifest.
        artifact: The file that it describes.
        sealed: Refuse one that was changed since jetseg wrote it, or whose hashes were taken out.

    Raises:
        ManifestError: It does not exist, is malformed or was changed; all mistakes are named.
    """
    if not path.is_file():
        raise ManifestError(
            f"{artifact} has no manifest: {path} does not exist.",
            "Write one that names classes, input and output (see the README), and give it as `manifest`.",
        )
    try:
        content = read_data(path)
        wanted = content.pop("content_sha256", None) if isinstance(content, dict) else None
        manifest = Manifest.model_validate(content)
    except ValidationError as error:
        keys = {} if isinstance(content, dict) and "outputs" in content else _FORMAT_1_KEYS
        raise ManifestError(f"{path} is not a valid manifest:\n{explain(error, keys)}") from error
    except TextDataError as error:
        raise ManifestError(f"{path} cannot be read as JSON or YAML: {error}") from error
    if sealed:
        _check_seal(path, artifact, manifest, wanted, content)
    return manifest


def _check_seal(path: Path, artifact: Path, manifest: Manifest, wanted: object, content: Mapping[str, Any]) -> None:
    fix = f"Copy it again, or make the file anew; if you know it to be right, run `jetseg seal {artifact}`."
    if wanted is not None and wanted != _content_sha256(content):
        raise ManifestError(f"{path} was changed since it was written: the SHA-256 of its content differs.", fix)
    hashes = {"sha256": manifest.sha256, "content_sha256": wanted}
    lacking = [name for name, value in hashes.items() if value is None]
    if lacking and manifest.has_history:
        raise ManifestError(
            f"{path} says how jetseg made {artifact.name}, but not its {' and '.join(lacking)}: it was changed since, "
            "or an older version wrote it.",
            fix,
        )


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Writes a manifest with the hash of its content."""
    content: dict[str, Any] = json.loads(manifest.model_dump_json())
    write_text(path, json.dumps({**content, "content_sha256": _content_sha256(content)}, indent=2) + "\n")


def _content_sha256(content: Mapping[str, Any]) -> str:
    """Hashes what a manifest says, however it is laid out."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
