"""What a backend is: how it builds an engine from a float network, and how it opens one."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy.typing as npt
from pydantic import BaseModel

from jetseg.config import Settings
from jetseg.errors import ConfigError
from jetseg.manifest import Manifest, Precision
from jetseg.network import Network
from jetseg.preprocess import NetworkInput
from jetseg.quantization.config import ArithmeticName
from jetseg.quantization.ranges import RangesRecord
from jetseg.registry import BACKENDS

DEFAULT_BACKEND = "onnxruntime"


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
    """What a backend is asked to build.

    Attributes:
        network: Float network; the corrected one where calibration made one for this backend's arithmetic.
        precision: Precision of the engine.
        ranges: Calibrated ranges; there for int8.
        destination: File to write.
        keep_float: Layers, by output tensor, that stay in float.
        options: The backend's own settings, an instance of its `options`.
    """

    network: Network
    precision: Precision
    ranges: RangesRecord | None
    destination: Path
    keep_float: frozenset[str] = frozenset()
    options: Any = None


@dataclass(frozen=True)
class BuildReport:
    """What a backend tells about an engine that it built.

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

    integer_layers: tuple[str, ...] = ()
    float_layers: tuple[str, ...] = ()
    layer_precisions: Mapping[str, int] = field(default_factory=dict)
    layer_devices: Mapping[str, int] = field(default_factory=dict)
    hops: Mapping[str, int] = field(default_factory=dict)
    not_run_here: str | None = None
    device: str | None = None
    toolchain: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Candidate:
    """One way to build that a backend names for precision "auto".

    Attributes:
        name: For people and file names.
        precision: Precision of the engine.
        options: Settings of the backend that belong to it.
    """

    name: str
    precision: Precision
    options: Mapping[str, str] = field(default_factory=dict)


class NoOptions(Settings):
    """A backend without settings of its own."""


class Backend(ABC):
    """A runtime that engines are built for; see `jetseg.registry` for how another package brings one.

    Attributes:
        suffix: End of the name of its engine files.
        arithmetic: The rounding that calibration corrects for, and that int8 is simulated by; None for a backend
            without int8.
        candidates: What precision "auto" tries; none where its engines cannot run on the machine that builds them.
        options: Model of its own settings.
        in_calling_thread: With one thread, inference runs in the thread that asks for it.
    """

    suffix: ClassVar[str]
    arithmetic: ClassVar[ArithmeticName | None] = None
    candidates: ClassVar[tuple[Candidate, ...]] = ()
    options: ClassVar[type[BaseModel]] = NoOptions
    in_calling_thread: ClassVar[bool] = False

    def check(self, precision: Precision, options: Any) -> None:  # noqa: ANN401 - an instance of its own `options`
        """Refuses at once what would fail after a long calibration.

        Raises:
            ConfigError: The backend lacks the precision, or an option contradicts it.
            MissingDependencyError: Its library is not installed.
            DeviceError: Its device is not there.
        """
        del options
        known = {candidate.precision for candidate in self.candidates}
        if known and precision not in known:
            raise ConfigError(f"This backend builds no {precision} engines.", f"It builds {', '.join(sorted(known))}.")

    @abstractmethod
    def build(self, request: BuildRequest) -> BuildReport:
        """Writes an engine to `request.destination`.

        Raises:
            JetsegError: The network or the ranges are wrong, or the library refuses them.
        """

    @abstractmethod
    def open(self, network: Network, threads: int | None = None) -> Runner:
        """Opens an engine, or a float ONNX file where the backend runs these.

        Args:
            network: The file, checked against its manifest.
            threads: Threads of a CPU backend; None lets it choose.

        Raises:
            JetsegError: The file is damaged or another device's, or a library is missing.
        """

    def clock(self, threads: int) -> Callable[[], float]:
        """Returns the clock to time this backend with, in seconds.

        A backend that computes in the calling thread is timed by that thread's processor time: on an idle machine the
        same as wall time, and on a busy one without the time spent waiting for a processor. All others have wall time.
        """
        return time.thread_time if threads == 1 and self.in_calling_thread else time.perf_counter


def find_backend(name: str) -> Backend:
    """Returns a backend by name.

    Raises:
        ConfigError: There is no such backend.
        MissingDependencyError: Its library is not installed.
    """
    backend: Backend = BACKENDS.get(name)()
    return backend
