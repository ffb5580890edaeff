"""Opens the networks that `bench` and `report` compare, and says what each one costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from jetseg.cli.artifacts import CHECKPOINT_SUFFIX, open_any
from jetseg.evaluate.macs import Cost, onnx_cost
from jetseg.manifest import Manifest, manifest_path
from jetseg.report.rows import Entry, unique_names

if TYPE_CHECKING:
    from jetseg.engine.contract import Runner


@contextmanager
def open_entries(paths: Sequence[Path], manifest_file: Path | None, threads: int | None) -> Iterator[list[Entry]]:
    """Opens every network and closes them all at the end.

    Args:
        paths: Checkpoints, ONNX files or engines.
        manifest_file: A manifest for those that have none beside them.
        threads: Threads that each one may use.
    """
    with ExitStack() as stack:
        entries = []
        for name, path in zip(unique_names(paths), paths, strict=True):
            runner = open_any(path, manifest_for(path, manifest_file), threads)
            stack.callback(runner.close)
            entries.append(Entry(name, path, runner, artifact_cost(path, runner)))
        yield entries


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
