"""Opens what a user names: a path, a spec, or something that is open already."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from jetseg.engine.engine import Engine
from jetseg.engine.engine import open_engine as open_exported
from jetseg.manifest_file import has_manifest
from jetseg.network import Network, open_network
from jetseg.quantization.ranges import Ranges, check_made_for, open_ranges
from jetseg.shipped import find_artifact


def as_network(network: Network | Path | str, manifest: Path | str | None = None) -> Network:
    """Opens a network by its path or name; one that is open already is returned as it is."""
    return network if isinstance(network, Network) else open_network(network, manifest)


def open_engine(
    path: Network | Path | str, *, manifest: Path | str | None = None, threads: int | None = None
) -> Engine:
    """Opens an engine, an ONNX file or a checkpoint to run it; a context manager, which closes it.

    Args:
        path: The file, or the name of a network that comes with jetseg, as in "camvid-light". A checkpoint needs torch.
        manifest: A manifest elsewhere than beside the file.
        threads: Threads of a CPU backend; None lets the backend choose. Torch has one number for the whole process.

    Raises:
        ArtifactError: The file is damaged, or is not what its manifest says.
        ManifestError: There is no manifest, or it is malformed.
        MissingDependencyError: The library that runs it is not installed.

    >>> import numpy as np
    >>> with open_engine("camvid-light", threads=1) as engine:
    ...     engine.segment(np.zeros((360, 480, 3), np.uint8)).shape
    (360, 480)
    """
    network = as_network(path, manifest)
    if network.manifest.kind != "checkpoint":
        return open_exported(network, threads=threads)
    from jetseg.training.torch_runner import TorchRunner

    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    return Engine(TorchRunner(network), network)


def enter_engine(
    stack: ExitStack,
    network: Engine | Network | Path | str,
    *,
    manifest: Path | str | None = None,
    threads: int | None = None,
) -> Engine:
    """Opens a network until the stack is closed; an engine that is open already is left to its owner.

    A manifest that is given is for a file that has none beside it.
    """
    if isinstance(network, Engine):
        return network
    if not isinstance(network, Network):
        network = open_network(network, manifest_for(network, manifest))
    return stack.enter_context(open_engine(network, threads=threads))


def manifest_for(path: Path | str, manifest: Path | str | None) -> Path | str | None:
    """Returns a given manifest for a file that has none beside it, and None (its own) for the others."""
    return None if has_manifest(find_artifact(Path(path))) else manifest


def as_ranges(ranges: Ranges | Path | str, network: Network | Path | str) -> Ranges:
    """Opens the ranges of a network by their path; those that are open already are checked and returned.

    Raises:
        CalibrationError: They were made for another network.
    """
    opened = as_network(network)
    if isinstance(ranges, Ranges):
        check_made_for(ranges.record, opened, ranges.path)
        return ranges
    return open_ranges(ranges, opened)
