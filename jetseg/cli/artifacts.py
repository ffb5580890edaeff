"""Opens whatever artifact a verb was given."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from jetseg.errors import ConfigError
from jetseg.shipped import find_artifact, shipped_names

if TYPE_CHECKING:
    from jetseg.engine.backend import Runner

CHECKPOINT_SUFFIX = ".safetensors"


def by_name(given: Path | list[Path] | None) -> Path | list[Path] | None:
    """Lets shipped networks be given by name: a callback for arguments of the command line.

    Raises:
        ConfigError: It is neither a file nor such a name, and has not the form of a file name either.
    """
    if given is None:
        return None
    if isinstance(given, list):
        return [find_artifact(path) for path in given]
    found = find_artifact(given)
    if not found.suffix and not found.exists():
        names = ", ".join(shipped_names()) or "none"
        raise ConfigError(f"{given} is no file, and no network of that name comes with jetseg.", f"Names: {names}.")
    return found


def open_any(path: Path, manifest_file: Path | None = None, threads: int | None = None) -> Runner:
    """Opens a checkpoint (with torch), or an ONNX file or engine (without).

    Raises:
        MissingDependencyError: A checkpoint was given and torch is not installed.
        ArtifactError: The file is damaged or not what its manifest says.
    """
    if path.suffix == CHECKPOINT_SUFFIX:
        from jetseg.train.torch_runner import TorchRunner

        if threads is not None:
            import torch

            torch.set_num_threads(threads)  # torch knows only one number for the whole process
        return TorchRunner(path)
    from jetseg.engine.opening import open_runner

    return open_runner(path, manifest_file=manifest_file, threads=threads)
