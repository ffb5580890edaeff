"""How fast a float network's engines are on the backend at hand."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol

from jetseg.advice.config import AdviseConfig
from jetseg.advice.finding import Basis
from jetseg.engine.backend import find_backend
from jetseg.engine.config import BuildConfig
from jetseg.engine.contest import hold_contest
from jetseg.engine.engine import Engine
from jetseg.engine.layer_timer import quiet_latencies_ms
from jetseg.engine.timing import open_for_timing
from jetseg.evaluation.benchmark import inference_on_noise
from jetseg.latency.estimate import LatencyEstimate, LatencyModel
from jetseg.latency.table import LatencyTable, read_table
from jetseg.manifest import Precision
from jetseg.network import Network
from jetseg.storage import scratch_folder
from jetseg.targets import find_target
from jetseg.workflows.latency import open_latency_model, predict_latency

_ROUNDS, _TURN_SECONDS = 8, 0.06


@dataclass(frozen=True)
class Comparison:
    """Two latencies in milliseconds, measured or predicted alike.

    Attributes:
        reference_ms: Of the network as it is, in float.
        ms: Of the other engine.
        low_ms: Lower end of the interval of a prediction; of what was measured, `ms` itself.
        high_ms: Upper end of it.
    """

    reference_ms: float
    ms: float
    low_ms: float
    high_ms: float

    @property
    def speedup(self) -> float:
        """How many times as fast as the reference the other engine is."""
        return self.reference_ms / self.ms

    def slowed(self, factor: float) -> Comparison:
        """Returns the same with an engine that takes so many times as long."""
        return Comparison(self.reference_ms, factor * self.ms, factor * self.low_ms, factor * self.high_ms)


class Stopwatch(Protocol):
    """Compares the speed of two networks' engines."""

    @property
    def source(self) -> str:
        """Where its figures are from, as a sentence."""
        ...

    @property
    def basis(self) -> Basis:
        """What its figures rest on."""
        ...

    def __call__(
        self, reference: Network, network: Network, precision: Precision, in_float: Collection[str] = ()
    ) -> Comparison:
        """Compares a float network in float with another one's engine in a precision.

        Args:
            reference: The network as it is.
            network: The other one.
            precision: Precision of its engine.
            in_float: Nodes of it, by output, that int8 leaves in float for accuracy.
        """
        ...


@dataclass(frozen=True)
class BackendStopwatch:
    """Builds engines as `jetseg build-engine` does, without calibration, and times them in turn.

    Attributes:
        backend: A name of `jetseg.registry.BACKENDS`.
        threads: Threads of a CPU backend.
    """

    backend: str
    threads: int
    basis: ClassVar[Basis] = "measured"

    @property
    def source(self) -> str:
        """Where its figures are from."""
        return f"measured here on {self.backend}"

    def __call__(
        self, reference: Network, network: Network, precision: Precision, in_float: Collection[str] = ()
    ) -> Comparison:
        """Compares the fastest runs; of int8, that of the engine that a build would hand over.

        That is one with layers in float where these are faster, or all in float if 8 bits gain nothing.
        """
        if precision == "int8":
            config = BuildConfig(backend=self.backend, threads=self.threads, keep_float=tuple(in_float))
            contest = hold_contest(network, None, config)
            if contest is not None:
                gain = max(1.0, contest.gain)
                float_ms = contest.latencies_ms[contest.best_float]
                if network is reference:
                    return _measured(float_ms, float_ms / gain)
                found = self._time(reference, network, "fp32")
                return _measured(found.reference_ms, found.ms / gain)
        return self._time(reference, network, precision)

    def _time(self, reference: Network, network: Network, precision: Precision) -> Comparison:
        """Times both in turn."""
        with scratch_folder("jetseg-advice-") as folder, ExitStack() as stack:
            first = stack.enter_context(self._open(reference, folder / "reference.onnx", "fp32"))
            calls = {"reference": inference_on_noise(first)}
            if network is not reference or precision != "fp32":
                second = stack.enter_context(self._open(network, folder / "network.onnx", precision))
                calls["network"] = inference_on_noise(second)
            clock = find_backend(self.backend).clock(self.threads)
            found = quiet_latencies_ms(calls, rounds=_ROUNDS, seconds=_TURN_SECONDS, clock=clock)
        return _measured(found["reference"], found.get("network", found["reference"]))

    def _open(self, network: Network, place: Path, precision: Precision) -> Engine:
        model = network.float_graph().model
        return open_for_timing(model, network.manifest, place, self.backend, precision, self.threads)


def _measured(reference_ms: float, ms: float) -> Comparison:
    return Comparison(reference_ms, ms, ms, ms)


@dataclass(frozen=True)
class PredictingStopwatch:
    """Predicts what engines take on a computer that is not here; see `jetseg.workflows.latency`.

    Attributes:
        target: A name of `jetseg.targets.TARGETS`.
        tables: Latency tables of it, by the precision that they are of.
    """

    target: str
    tables: Mapping[Precision, LatencyTable] = field(default_factory=dict)
    basis: ClassVar[Basis] = "predicted"
    _models: dict[Precision, LatencyModel] = field(default_factory=dict, init=False)

    @property
    def source(self) -> str:
        """Where its figures are from."""
        tables = f"latency tables in {', '.join(sorted(self.tables))}" if self.tables else ""
        return f"predicted for {self.target} from {tables or 'published peaks of the device, roughly'}"

    @property
    def float_precision(self) -> Precision:
        """What a network in float is in there: float16 on a GPU, where nobody drives in float32."""
        return "fp32" if find_target(self.target).compute_capability is None else "fp16"

    def __call__(
        self, reference: Network, network: Network, precision: Precision, in_float: Collection[str] = ()
    ) -> Comparison:
        """Compares two predictions; there is no gate here that would leave layers in float."""
        del in_float
        before = self._predict(reference, self.float_precision)
        after = self._predict(network, self.float_precision if precision == "fp32" else precision)
        return Comparison(before.latency_ms, after.latency_ms, after.low, after.high)

    def _predict(self, network: Network, precision: Precision) -> LatencyEstimate:
        if precision not in self._models:  # learning from a table takes seconds
            table = self.tables.get(precision)
            self._models[precision] = open_latency_model(table=table, target=self.target, precision=precision)
        return predict_latency(network, model=self._models[precision])


def make_stopwatch(config: AdviseConfig) -> Stopwatch:
    """Returns what compares speeds: the backend at hand, or predictions for a target."""
    if config.target is None:
        return BackendStopwatch(config.backend, config.threads)
    tables = [read_table(path) for path in config.latency_tables]
    return PredictingStopwatch(config.target, {table.precision: table for table in tables})
