"""Opens an ONNX file or a built engine with the backend that made it."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from types import ModuleType

import jetseg.engine
from jetseg.engine.contract import Runner
from jetseg.errors import ArtifactError, ConfigError
from jetseg.manifest import load_manifest

DEFAULT_BACKEND = "onnxruntime"


def open_runner(path: Path, *, manifest_file: Path | None = None, threads: int | None = None) -> Runner:
    """Opens an ONNX file or an engine after checking its manifest and hash.

    Args:
        path: ONNX file or engine.
        manifest_file: A manifest elsewhere than beside the file.
        threads: Threads of a CPU backend; None lets the backend choose.

    Raises:
        ArtifactError: The file is damaged, or is not what its manifest says.
        ManifestError: There is no manifest, or it is malformed.
        MissingDependencyError: The backend's library is not installed.
    """
    manifest = load_manifest(path, manifest_file)
    if manifest.kind == "checkpoint":
        raise ArtifactError(f"{path} is a checkpoint.", "Export it first with `jetseg export`.")
    if manifest.kind == "engine" and manifest.sha256 is None:
        raise ArtifactError(f"The manifest of {path} has no hash of the engine.", "Build the engine again.")
    runtime = backend_module(manifest.backend or DEFAULT_BACKEND, "runtime")
    runner: Runner = runtime.open_runner(path, manifest, threads=threads)
    return runner


def backend_names() -> tuple[str, ...]:
    """Returns the backends: the packages inside jetseg.engine."""
    return tuple(module.name for module in pkgutil.iter_modules(jetseg.engine.__path__) if module.ispkg)


def backend_module(backend: str, part: str) -> ModuleType:
    """Imports one part ("build" or "runtime") of a backend by the backend's name.

    Raises:
        ConfigError: There is no such backend.
        MissingDependencyError: Its library is not installed.
    """
    if backend not in backend_names():
        raise ConfigError(f"There is no backend named {backend}.", f"Choose from: {', '.join(backend_names())}.")
    return importlib.import_module(f"jetseg.engine.{backend}.{part}")
