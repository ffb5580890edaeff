"""Opened engines: a frame goes in, a class map comes out."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from jetseg.engine.backend import DEFAULT_BACKEND, Runner, find_backend, infer_all
from jetseg.engine.proof import check_proof
from jetseg.errors import ArtifactError
from jetseg.evaluation.finite import all_finite
from jetseg.main_thread import opening, working
from jetseg.manifest import Manifest
from jetseg.network import Network, open_network
from jetseg.postprocess import ClassMap, TaskMap, class_map, task_maps
from jetseg.preprocess import FrameU8, NetworkInput, Preprocessor
from jetseg.registry import BACKENDS


class Engine:
    """A network that runs: an engine, an ONNX file or a checkpoint. Use it from one thread at a time.

    It is a context manager, which closes it at the end.

    Args:
        runner: What runs it; the engine closes it.
        network: The file that it was opened from, if any.

    Raises:
        ManifestError: The manifest was changed since the engine was built; see `jetseg.engine.proof`.

    Attributes:
        manifest: What goes in, what comes out.
        network: The file.
        frames_not_finite: Frames that `segment` got scores for that are not finite numbers.
    """

    def __init__(self, runner: Runner, network: Network | None = None) -> None:
        self.manifest: Manifest = runner.manifest
        self.network = network
        self.frames_not_finite = 0
        self._runner = runner
        self._preprocess = Preprocessor(runner.manifest.input)
        check_proof(runner.manifest, "the network" if network is None else str(network.path))

    def segment(self, frame_hwc_u8: FrameU8) -> ClassMap:
        """Segments one frame.

        Args:
            frame_hwc_u8: uint8, height x width x 3, BGR (OpenCV's order), any size.

        Returns:
            uint8, H x W at the network's output size. Values below `manifest.num_classes` are class ids; that value
            itself means void.

        Raises:
            ArtifactError: The engine was closed, or gives another output than its manifest promises.
        """
        output = np.asarray(self.infer(self._preprocess(frame_hwc_u8)))
        self.frames_not_finite += not all_finite(output)
        return class_map(output, self.manifest)

    def maps(self, frame_hwc_u8: FrameU8) -> dict[str, TaskMap]:
        """Runs all tasks on one frame.

        Args:
            frame_hwc_u8: As for `segment`.

        Returns:
            By the task's name, in the order of the manifest: class maps (uint8, H x W), and depth (float32, H x W).

        Raises:
            ArtifactError: The engine was closed, or gives other outputs than its manifest promises.
        """
        outputs = [np.asarray(output) for output in self.infer_all(self._preprocess(frame_hwc_u8))]
        self.frames_not_finite += not all(map(all_finite, outputs))
        return task_maps(outputs, self.manifest)

    def infer_all(self, network_input: NetworkInput) -> list[npt.NDArray[Any]]:
        """Returns all raw outputs of one inference; see `jetseg.engine.backend.infer_all`."""
        with working("a run of the engine"):
            return infer_all(self._runner, network_input)

    def infer(self, network_input: NetworkInput) -> npt.NDArray[Any]:
        """Runs the network on an input that is preprocessed already; see `jetseg.engine.backend.Runner.infer`."""
        with working("a run of the engine"):
            return self._runner.infer(network_input)

    def close(self) -> None:
        """Frees what the engine holds. May be called twice."""
        self._runner.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_engine(
    path: Network | Path | str, *, manifest: Path | str | None = None, threads: int | None = None
) -> Engine:
    """Opens an engine or an ONNX file, after checking its manifest and hash.

    Args:
        path: The file, or the name of a network that comes with jetseg.
        manifest: A manifest elsewhere than beside the file.
        threads: Threads of a CPU backend; None lets the backend choose.

    Raises:
        ArtifactError: The file is damaged, or is not what its manifest says.
        ManifestError: There is no manifest, or it is malformed.
        MissingDependencyError: The backend's library is not installed.

    >>> with open_engine("camvid-light", threads=1) as engine:
    ...     engine.segment(np.zeros((360, 480, 3), np.uint8)).shape
    (360, 480)
    """
    network = path if isinstance(path, Network) else open_network(path, manifest)
    if network.manifest.kind == "checkpoint":
        raise ArtifactError(f"{network.path} is a checkpoint.", "Export it first with `jetseg export`.")
    name = network.manifest.backend or DEFAULT_BACKEND
    backend = find_backend(name)
    with BACKENDS.calling(name), opening(str(network.path)):
        return Engine(backend.open(network, threads), network)
