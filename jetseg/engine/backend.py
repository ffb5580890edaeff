"""What a backend is: how it builds an engine from a float network, and how it opens one."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy.typing as npt
from pydantic import BaseModel

from jetseg.config import Settings
from jetseg.errors import ConfigError
from jetseg.latency.fusing import fused_units
from jetseg.latency.unit import Unit
from jetseg.manifest import QUANTIZED, EnginePrecision, Manifest, Precision
from jetseg.network import Network
from jetseg.preprocess import NetworkInput
from jetseg.quantization.arithmetic import Arithmetic, find_arithmetic
from jetseg.quantization.config import ArithmeticName, SchemeName
from jetseg.quantization.qdq.schemes import SCHEMES
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
            The raw main output, as `manifest.output` describes it. It should stay as it is while later calls run; of
            a runner that writes into it again, the camera loop takes copies. After `close` it is gone.
        """
        ...

    def close(self) -> None:
        """Frees what the runner holds. May be called twice."""
        ...


@runtime_checkable
class SeveralOutputs(Protocol):
    """A runner that gives all outputs of one inference."""

    def infer_all(self, network_input: NetworkInput) -> list[npt.NDArray[Any]]:
        """Runs the network once; returns the raw outputs in the order of `manifest.outputs`, as `Runner.infer`."""
        ...


def infer_all(runner: Runner, network_input: NetworkInput) -> list[npt.NDArray[Any]]:
    """Returns all outputs of one inference, in the order of `runner.manifest.outputs`.

    Raises:
        ConfigError: The network has several, and this backend gives one.
    """
    if isinstance(runner, SeveralOutputs):
        return runner.infer_all(network_input)
    if len(runner.manifest.outputs) > 1:
        raise ConfigError(
            f"The backend {runner.manifest.backend} gives one output, and the network has "
            f"{', '.join(output.label for output in runner.manifest.outputs)}.",
            "Take the backend onnxruntime.",
        )
    return [runner.infer(network_input)]


@dataclass(frozen=True)
class BuildRequest:
    """What a backend is asked to build.

    Attributes:
        network: Float network; the corrected one where calibration made one for this backend's arithmetic.
        precision: Precision of the engine.
        ranges: Calibrated ranges; there for precisions with quantizers.
        destination: File to write.
        keep_float: Layers, by output tensor, that stay in float.
        options: The backend's own settings, an instance of its `options`.
        scheme: What quantizers compute; None for what is the backend's own in int8.
    """

    network: Network
    precision: Precision
    ranges: RangesRecord | None
    destination: Path
    keep_float: frozenset[str] = frozenset()
    options: Any = None
    scheme: SchemeName | None = None


@dataclass(frozen=True)
class BuildReport:
    """What a backend tells about an engine that it built.

    Attributes:
        integer_layers: Convolutions and matrix products that read integers, by output tensor; products of two
            activations, as in an attention, count as well.
        float_layers: The others. Both are empty where the library decides and does not tell.
        macs: Multiply-accumulates of one frame in each of them; empty where they are not known.
        layer_precisions: Layers of the finished engine by precision, where its library tells.
        layer_devices: These layers by device, "GPU" or "DLA".
        hops: "format": layers that only change how values lie in memory; "device": changes between GPU and DLA.
        note: What a user must know of how it computes.
        not_run_here: Why this machine cannot run the engine; None if it can.
        device: What the engine was built for, where that is not this machine's processor.
        toolchain: Versions that the engine depends on, beyond the installed Python packages.
    """

    integer_layers: tuple[str, ...] = ()
    float_layers: tuple[str, ...] = ()
    macs: Mapping[str, int] = field(default_factory=dict)
    layer_precisions: Mapping[str, int] = field(default_factory=dict)
    layer_devices: Mapping[str, int] = field(default_factory=dict)
    hops: Mapping[str, int] = field(default_factory=dict)
    note: str | None = None
    not_run_here: str | None = None
    device: str | None = None
    toolchain: Mapping[str, str] = field(default_factory=dict)

    @property
    def integer_macs(self) -> int:
        """Multiply-accumulates on integers, of the sum of `macs`."""
        return sum(self.macs.get(name, 0) for name in self.integer_layers)


@dataclass(frozen=True)
class Candidate:
    """One way to build that a backend names for precision "auto".

    Attributes:
        name: For people and file names.
        precision: Precision of the engine.
        options: Settings of the backend that belong to it.
    """

    name: str
    precision: EnginePrecision
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class StepTime:
    """One step of a running engine, as its runtime executes it.

    Attributes:
        tensor: What the step makes, by its name in the network that the engine was built from; None where the runtime
            put the step in by itself.
        operator: Kind of the step, in ONNX's words where it has one.
        ms: Its fastest run, in milliseconds.
        elements: Numbers that it writes.
        unit: All that its latency depends on; None where the runtime does not tell.
        covers: Whether it may do the work of every node between what it makes and what other steps make, as the kernels
            of a compiler do; otherwise it is one layer with what is fused into it.
    """

    tensor: str | None
    operator: str
    ms: float
    elements: int
    unit: Unit | None = None
    covers: bool = False


class NoOptions(Settings):
    """A backend without settings of its own."""


class Backend(ABC):
    """A runtime that engines are built for; see `jetseg.registry` for how another package brings one.

    Attributes:
        suffix: End of the name of its engine files.
        arithmetic: The rounding that calibration corrects for, and that int8 is simulated by; None for a backend
            without int8.
        schemes: What quantizers may compute in its engines, the usual one of each precision first; without any, int8
            is what `arithmetic` says, and there is no choice.
        candidates: What precision "auto" tries; none where its engines cannot run on the machine that builds them.
        options: Model of its own settings.
        in_calling_thread: With one thread, inference runs in the thread that asks for it.
        one_output: Its engines give the main output only.
    """

    suffix: ClassVar[str]
    arithmetic: ClassVar[ArithmeticName | None] = None
    schemes: ClassVar[tuple[SchemeName, ...]] = ()
    candidates: ClassVar[tuple[Candidate, ...]] = ()
    options: ClassVar[type[BaseModel]] = NoOptions
    in_calling_thread: ClassVar[bool] = False
    one_output: ClassVar[bool] = False

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

    def takes_ranges(self, precision: Precision, options: Any) -> bool:  # noqa: ANN401 - an instance of its own `options`
        """Tells whether an engine is calibrated first, for quantizers of fixed ranges."""
        del options
        return precision in QUANTIZED

    def find_scheme(self, precision: Precision, asked: SchemeName | None) -> SchemeName | None:
        """Returns what the quantizers of an engine compute: what was asked for, or what is usual.

        Raises:
            ConfigError: The backend lacks it; those that it has are named.
        """
        if precision not in QUANTIZED:
            return None
        known = [name for name in self.schemes if asked in (None, name) and SCHEMES[name].precision == precision]
        if known:
            return known[0]
        if asked is None and precision == "int8":
            return None
        has = ", ".join(self.schemes) or "its own int8 only, without a choice"
        raise ConfigError(f"This backend builds no engines of scheme {asked or precision}.", f"It has {has}.")

    def find_arithmetic(self, scheme: SchemeName | None) -> Arithmetic | None:
        """Returns the rounding of its engines in a scheme; None for a backend without."""
        return None if self.arithmetic is None else find_arithmetic(self.arithmetic, scheme)

    def step_times(self, engines: Sequence[Network], threads: int) -> list[list[StepTime]]:
        """Times each step of some engines on noise, in alternated runs; nothing where the runtime does not tell.

        By these times layers are found that are faster in float; see `jetseg.engine.mixing`.

        Args:
            engines: Engines of this backend.
            threads: Threads of a CPU backend.

        Returns:
            The steps of each engine, in the order of execution.
        """
        del engines, threads
        return []

    def units(self, network: Network, precision: Precision) -> list[Unit]:
        """Returns the operators of a network as its engine in a precision computes them; the device is not needed.

        Args:
            network: Float ONNX file; or an engine of this backend, where it can tell.
            precision: Precision of the engine.
        """
        return fused_units(network.float_graph(), precision)

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
