"""What every backend gives, whatever runs underneath."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from jetseg.manifest import Manifest, Precision
from jetseg.postprocess import ClassMap, class_map
from jetseg.preprocess import FrameU8, NetworkInput, Preprocessor
from jetseg.quantization.ranges import Ranges


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
class BuildRequest:
    """What a backend's `build` is asked for.

    Attributes:
        model: Float ONNX file.
        manifest: Its manifest.
        precision: Precision of the engine.
        ranges: Calibrated ranges; there for int8.
        destination: File to write.
        keep_float: Layers, by output tensor, that stay in float.
        options: The backend's own settings, an instance of its `Options`.
    """

    model: Path
    manifest: Manifest
    precision: Precision
    ranges: Ranges | None
    destination: Path
    keep_float: frozenset[str] = frozenset()
    options: Any = None


@dataclass(frozen=True)
class BuildReport:
    """What a backend's `build` tells.

    Attributes:
        integer_layers: Convolutions and matrix products that read integers, by output tensor.
        float_layers: The others. Both are empty where the library decides and does not tell.
        layer_precisions: Layers of the finished engine by precision, where its library tells.
        layer_devices: These layers by device, "GPU" or "DLA".
        hops: "format": layers that only change how values lie in memory; "device": changes between GPU and DLA.
        not_run_here: Why this machine cannot run the engine; None if it can.
        device: What the engine was built for, where that is not this machine's processor.
        toolchain: Versions that the engine depends on, beyond the installed Python packages.
    """

    integer_layers: tuple[str, ...]
    float_layers: tuple[str, ...]
    layer_precisions: Mapping[str, int] = field(default_factory=dict)
    layer_devices: Mapping[str, int] = field(default_factory=dict)
    hops: Mapping[str, int] = field(default_factory=dict)
    not_run_here: str | None = None
    device: str | None = None
    toolchain: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Candidate:
    """One way to build that a backend names for `--precision auto`.

    Attributes:
        name: For people and file names.
        precision: Precision of the engine.
        options: Settings of the backend that belong to it.
    """

    name: str
    precision: Precision
    options: Mapping[str, str] = field(default_factory=dict)


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
