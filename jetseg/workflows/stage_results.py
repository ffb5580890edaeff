"""What the stages of a recipe left in their folders."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from jetseg.errors import ArtifactError, ConfigError
from jetseg.network import artifact_sha256, load_manifest
from jetseg.storage import write_json

_RECORD = "stage.json"
_FINISHING = ("fine-tune", "export")

Artifacts = dict[str, Path]
"""Files by kind: "checkpoint", "onnx", "ranges", "engine"."""


@dataclass(frozen=True)
class StageResult:
    """What one stage made.

    Attributes:
        name: The stage.
        kind: Its kind.
        folder: Where its files lie.
        artifacts: Its files, by kind of artifact.
        seconds: How long it took; None if it was kept from an earlier run.
    """

    name: str
    kind: str
    folder: Path
    artifacts: Artifacts
    seconds: float | None


def save_result(result: StageResult) -> None:
    """Records in its folder what a stage made, with the hashes of its files."""
    files = {
        kind: (str(path.relative_to(result.folder)), artifact_sha256(path)) for kind, path in result.artifacts.items()
    }
    content = {"stage": result.name, "kind": result.kind, "seconds": result.seconds, "artifacts": files}
    write_json(result.folder / _RECORD, content)


def kept_result(folder: Path) -> StageResult | None:
    """Returns what an earlier run made in this folder, if it finished and its files are as it left them."""
    with suppress(OSError, ValueError, KeyError, TypeError, ArtifactError):
        record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        files: Mapping[str, tuple[str, str]] = record["artifacts"]
        if all(artifact_sha256(folder / name) == digest for name, digest in files.values()):
            artifacts = {kind: folder / name for kind, (name, _) in files.items()}
            return StageResult(str(record["stage"]), str(record["kind"]), folder, artifacts, None)
    return None


def networks_of_run(folder: Path) -> list[tuple[str, Path]]:
    """Returns the networks that a recipe made, with the names of their stages, in order.

    Fine-tuning and export finish what a stage made: the file that they wrote stands for it, under its name.

    Args:
        folder: The folder that `jetseg compress` wrote to.

    Raises:
        ConfigError: No stage of a recipe finished there.
    """
    kept = [kept_result(stage) for stage in sorted(folder.iterdir()) if stage.is_dir()]
    networks: dict[Path, tuple[str, str]] = {}
    for result in filter(None, kept):
        for path in (path for kind, path in result.artifacts.items() if kind != "ranges"):
            name = result.name
            if result.kind in _FINISHING:
                parent = load_manifest(path).parent_sha256
                finished = next((made for made, (_, digest) in networks.items() if digest == parent), None)
                if finished:
                    name, _ = networks.pop(finished)
            networks[path] = name, artifact_sha256(path)
    if not networks:
        raise ConfigError(
            f"{folder} holds no finished stage of a recipe.",
            "Give files, or the folder that `jetseg compress` wrote to.",
        )
    names = [name for name, _ in networks.values()]
    return [
        (name if names.count(name) == 1 else f"{name} ({path.parent.name})", path)
        for path, (name, _) in networks.items()
    ]
