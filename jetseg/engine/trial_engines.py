"""Engines that are built aside to be timed, and gone afterwards."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from jetseg.config import validate_config
from jetseg.engine.backend import Backend, BuildReport, BuildRequest
from jetseg.engine.config import BuildConfig
from jetseg.engine.engine import open_engine
from jetseg.engine.layer_timer import quiet_latencies_ms
from jetseg.engine.mixing import StepCosts
from jetseg.engine.node_times import named_share
from jetseg.errors import ConfigError
from jetseg.evaluation.benchmark import inference_on_noise
from jetseg.manifest import Precision
from jetseg.network import Network, open_network, save_manifest
from jetseg.quantization.arithmetic import Arithmetic
from jetseg.quantization.ranges import Ranges, RangesRecord
from jetseg.registry import BACKENDS

_LOG = logging.getLogger(__name__)

_ROUNDS, _TURN_SECONDS = 4, 0.05
_LEAST_NAMED = 0.5
"""Part of the time that must be known by layer; of less, most layers would seem to cost nothing."""


@dataclass(frozen=True)
class TrialEngines:
    """Builds engines of one network in a folder, and times them.

    Args:
        network: Float network.
        ranges: Its ranges.
        config: Settings of the int8 engine.
        backend: The backend of `config`.
        folder: Where the engines go.
    """

    network: Network
    ranges: Ranges
    config: BuildConfig
    backend: Backend
    folder: Path

    @property
    def threads(self) -> int:
        """Threads to time with; one is the least disturbed by other work."""
        return self.config.threads or 1

    def in_float(self) -> dict[str, Network]:
        """Builds the float engines that the backend has and the options allow, by name."""
        engines = {}
        for candidate in self.backend.candidates:
            options = {**self.config.options, **candidate.options}
            try:
                self.backend.check(candidate.precision, validate_config(self.backend.options, options))
            except ConfigError:
                continue
            if candidate.precision != "int8":
                engines[candidate.name], _ = self._build(candidate.name, self.network, candidate.precision, options)
        return engines

    def mixed(self, name: str, in_float: frozenset[str] = frozenset()) -> tuple[Network, BuildReport]:
        """Builds an int8 engine with some nodes in float, beside those that shall be; returns it and what is told."""
        kept = in_float | frozenset(self.config.keep_float)
        return self._build(name, self._corrected, "int8", self.config.options, self.ranges.record, kept)

    def time_ms(self, engines: Mapping[str, Network]) -> dict[str, float]:
        """Returns the fastest run of each engine on noise, in alternated runs."""
        with ExitStack() as stack:
            opened = {name: open_engine(engine, threads=self.threads) for name, engine in engines.items()}
            for engine in opened.values():
                stack.enter_context(engine)
            calls = {name: inference_on_noise(engine) for name, engine in opened.items()}
            clock = self.backend.clock(self.threads)
            return quiet_latencies_ms(calls, rounds=_ROUNDS, seconds=_TURN_SECONDS, clock=clock)

    def step_costs(self, in_float: Network, int8: Network, integer_layers: Collection[str]) -> StepCosts | None:
        """Times the steps of a float engine and of an int8 engine; None if the backend does not tell them.

        Args:
            in_float: The float engine.
            int8: The int8 engine.
            integer_layers: What that has on integers, of those that a backend chooses.
        """
        arithmetic = self._arithmetic
        if self._corrected != self.network:  # other layers, so other steps
            options = self.config.options
            in_float, _ = self._build("corrected", self._corrected, in_float.manifest.precision, options)
        steps = self.backend.step_times([in_float, int8], self.threads)
        if arithmetic is None or not all(steps) or not steps:
            return None
        graph = self._corrected.float_graph()
        known = min(named_share(graph, taken) for taken in steps)
        if known < _LEAST_NAMED:
            _LOG.warning(
                "The backend tells of only %.0f %% of the time which layers it went to, so what pays is not looked "
                "for layer by layer; mixtures go by multiply-accumulates.",
                100 * known,
            )
            return None
        chosen = frozenset(integer_layers)
        placement = arithmetic.place(graph, self.ranges.placement, self.ranges.tensors, products=chosen)
        movable = placement.integer_nodes - frozenset(self.config.keep_float)
        return StepCosts(graph, replace(placement, integer_nodes=movable), *steps)

    @property
    def _corrected(self) -> Network:
        return self.ranges.network_for(self._arithmetic.corrected_for if self._arithmetic else "")

    @property
    def _arithmetic(self) -> Arithmetic | None:
        return self.backend.find_arithmetic(self.backend.find_scheme("int8", self.config.scheme))

    def _build(
        self,
        name: str,
        network: Network,
        precision: Precision,
        options: Mapping[str, str],
        record: RangesRecord | None = None,
        kept: frozenset[str] = frozenset(),
    ) -> tuple[Network, BuildReport]:
        place = self.folder / f"{name}{self.backend.suffix}"
        checked = validate_config(self.backend.options, options)
        with BACKENDS.calling(self.config.backend):
            scheme = self.backend.find_scheme(precision, self.config.scheme if record else None)
            report = self.backend.build(BuildRequest(network, precision, record, place, kept, checked, scheme))
        described = self.network.manifest.changed(
            kind="engine", precision=precision, backend=self.config.backend, parity=None
        )
        save_manifest(place, described, device=report.device, versions=report.toolchain)
        return open_network(place), report
