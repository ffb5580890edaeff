"""Opens the networks that `bench` and `report` compare, and says what each one costs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from jetseg.cli.artifacts import CHECKPOINT_SUFFIX, open_any
from jetseg.manifest import Manifest, manifest_path
from jetseg.network import load_manifest
from jetseg.onnx.cost import Cost, onnx_cost
from jetseg.recipes.results import networks_of_run
from jetseg.report.rows import Entry, unique_names

if TYPE_CHECKING:
    from jetseg.engine.backend import Runner


@contextmanager
def open_entries(
    paths: Sequence[Path], manifest_file: Path | None, threads: int | None, *, deployed: bool = False
) -> Iterator[list[Entry]]:
    """Opens every network and closes them all at the end.

    Args:
        paths: Checkpoints, ONNX files or engines, or folders that `jetseg compress` filled.
        manifest_file: A manifest for those that have none beside them.
        threads: Threads that each one may use.
        deployed: Run a checkpoint as it would be deployed, exported to ONNX, and not with torch.
    """
    with ExitStack() as stack:
        entries = []
        for name, path in _named(paths):
            runs = path
            if deployed and path.suffix == CHECKPOINT_SUFFIX:
                runs = _export(path, Path(stack.enter_context(tempfile.TemporaryDirectory())))
            runner = open_any(runs, manifest_for(runs, manifest_file), threads)
            stack.callback(runner.close)
            manifest = runner.manifest if runs is path else load_manifest(path)
            entries.append(Entry(name, path, runner, manifest, artifact_cost(path, runner)))
        yield entries


def _named(paths: Sequence[Path]) -> list[tuple[str, Path]]:
    """Returns the networks with their names; those of a folder in its place."""
    files = [path for path in paths if not path.is_dir()]
    names = iter(unique_names(files))
    named = []
    for path in paths:
        named += networks_of_run(path) if path.is_dir() else [(next(names), path)]
    return named


def _export(checkpoint: Path, folder: Path) -> Path:
    from jetseg.export.onnx_export import ExportConfig, run

    return run(ExportConfig(checkpoint=checkpoint, out=folder / f"{checkpoint.stem}.onnx")).path


def manifest_for(path: Path, manifest_file: Path | None) -> Path | None:
    """Returns the given manifest for a file that has none beside it, and None (its own) for the others."""
    return None if manifest_path(path).is_file() else manifest_file


def artifact_cost(path: Path, runner: Runner) -> Cost | None:
    """Counts parameters and multiply-accumulates; None for an engine that hides them."""
    manifest: Manifest = runner.manifest
    if path.suffix == CHECKPOINT_SUFFIX:
        from jetseg.models.cost import module_cost
        from jetseg.train.checkpoint import load_checkpoint

        module, _ = load_checkpoint(path)
        spec = manifest.input
        return module_cost(module, (1, spec.channels, spec.height, spec.width))
    if path.suffix == ".onnx" or manifest.kind == "onnx":
        return onnx_cost(path, manifest)
    return None
