"""What every backend gives, whatever runs underneath."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from jetseg.manifest import Manifest
from jetseg.postprocess import ClassMap, class_map
from jetseg.preprocess import FrameU8, NetworkInput, Preprocessor


class Runner(Protocol):
    """A network that is ready to run. Use it from one thread at a time."""

    manifest: Manifest

    def infer(self, network_input: NetworkInput) -> npt.NDArray[Any]:
        """Runs the network.

        Args:
            network_input: As `jetseg.preprocess.Preprocessor` makes it for `manifest.input`.

        Returns:
            The raw output, as `manifest.output` describes it. It may be overwritten by the next call.
        """
        ...

    def close(self) -> None:
        """Frees what the runner holds. May be called twice."""
        ...


@dataclass(frozen=True)
class BuildReport:
    """What a backend's `build` tells: which convolutions and matrix products run how, by output tensor."""

    integer_layers: tuple[str, ...]
    float_layers: tuple[str, ...]


class Segmenter:
    """Frame in, class map out: preprocessing, a runner and postprocessing in one.

    Args:
        runner: The network; the segmenter does not close it.
    """

    def __init__(self, runner: Runner) -> None:
        self.manifest = runner.manifest
        self._runner = runner
        self._preprocess = Preprocessor(runner.manifest.input)

    def __call__(self, frame_hwc_u8: FrameU8) -> ClassMap:
        """Segments one BGR frame of any size; the class map (uint8, H x W) has the network's output size."""
        output = self._runner.infer(self._preprocess(frame_hwc_u8))
        return class_map(np.asarray(output), self.manifest)
