"""Whether 8 bits pay: an int8 engine, mixtures of 8 bits and float, and float engines, timed in turn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from jetseg.engine.backend import Candidate, find_backend
from jetseg.engine.config import BuildConfig
from jetseg.engine.mixing import Region, StepCosts
from jetseg.engine.timing import noise_ranges
from jetseg.engine.trial_engines import TrialEngines
from jetseg.network import Network, open_network
from jetseg.progress import task
from jetseg.quantization.ranges import Ranges
from jetseg.storage import scratch_folder

_CAUTIONS = (1.0, 2.0, 0.5)
"""Mixtures are looked for with what a change of numbers costs, with twice that, and with half."""
_LEAST_MS = 1.0
"""Networks that take less are not compared: any engine of theirs will do."""
_INT8, _BEFORE = "int8", "before"


@dataclass(frozen=True)
class Contest:
    """How fast an int8 engine is, as a whole and in parts, and what else there is.

    Attributes:
        latencies_ms: Fastest run of each engine in milliseconds, by its name.
        floats: The float engines among them, by name.
        keep_float: What the fastest engine with 8 bits has in float although it could be on integers.
        regions: Its regions, in graph order; none where the backend does not tell its steps.
        costs: What its nodes cost; None where the backend does not tell its steps.
        threads: Threads that all were timed with.
        less_accurate_ms: What the int8 engine takes that failed the gate, without the layers that are in float for
            accuracy, timed with the others; None if there are none.
    """

    latencies_ms: Mapping[str, float]
    floats: Mapping[str, Candidate]
    keep_float: frozenset[str] = frozenset()
    regions: tuple[Region, ...] = ()
    costs: StepCosts | None = None
    threads: int = 1
    less_accurate_ms: float | None = None

    @property
    def best_float(self) -> str:
        """The fastest float engine."""
        return min(self.floats, key=lambda name: self.latencies_ms[name])

    @property
    def best_int8(self) -> str:
        """The fastest engine with 8 bits, all or in part."""
        others = (name for name in self.latencies_ms if name not in self.floats)
        return min(others, key=lambda name: self.latencies_ms[name])

    @property
    def gain(self) -> float:
        """How many times as fast as the best float engine the best one with 8 bits is."""
        return self.latencies_ms[self.best_float] / self.latencies_ms[self.best_int8]

    @property
    def int8_gains(self) -> bool:
        """Whether the engine with all on integers that can be is at least as fast as the best float engine."""
        return self.latencies_ms[_INT8] <= self.latencies_ms[self.best_float]

    @property
    def more_in_float(self) -> Mapping[str, float]:
        """Milliseconds that each layer takes longer in float than on integers, as far as that is known."""
        return self.costs.more_in_float() if self.costs else {}

    def record(self) -> dict[str, Any]:
        """Returns what a manifest and `--json` say."""
        known = {} if self.less_accurate_ms is None else {"less_accurate_ms": round(self.less_accurate_ms, 4)}
        return {
            "gain": round(self.gain, 3),
            "threads": self.threads,
            "latencies_ms": {name: round(ms, 4) for name, ms in self.latencies_ms.items()},
            **known,
            "regions": [asdict(region) for region in self.regions],
        }


def hold_contest(network: Network, ranges: Ranges | None, config: BuildConfig, *, mix: bool = True) -> Contest | None:
    """Builds engines aside, finds what is faster in float, and times all of them in turn on noise.

    With one thread a CPU is timed by processor time, so that other work on the machine counts as little as possible.

    Args:
        network: Float network.
        ranges: Its ranges; without any, those of noise, which do not change its speed.
        config: Settings of the int8 engine.
        mix: Whether layers may be in float that could be on integers.

    Returns:
        Who won; None where there is nothing to compare: the backend has no float engine that runs here, or that
        takes no millisecond.

    Raises:
        JetsegError: The backend cannot build an engine.
    """
    backend = find_backend(config.backend)
    if not any(candidate.precision == _INT8 for candidate in backend.candidates):
        return None
    with scratch_folder("jetseg-contest-") as folder, task("Finding where 8 bits pay"):
        known = ranges or Ranges(network.path, network, noise_ranges(network), "")
        trial = TrialEngines(network, known, config, backend, folder)
        floats = trial.in_float()
        latencies = trial.time_ms(floats) if floats else {}
        if min(latencies.values(), default=0.0) < _LEAST_MS:
            return None
        fastest = min(latencies, key=lambda name: latencies[name])
        whole, report = trial.mixed(_INT8)
        mixtures, kept = {_INT8: whole}, {_INT8: frozenset[str]()}
        costs = trial.step_costs(floats[fastest], whole, report.integer_layers)
        for in_float in [costs.faster_in_float(caution) for caution in _CAUTIONS] if costs and mix else []:
            if costs is not None and in_float not in kept.values() and _is_mixture(costs, in_float, config):
                name = f"mixed {len(kept)}"
                kept[name], (mixtures[name], _) = in_float, trial.mixed(name, in_float)
        contest = Contest(
            trial.time_ms({**floats, **mixtures}),
            {candidate.name: candidate for candidate in backend.candidates if candidate.name in floats},
            threads=trial.threads,
        )
        chosen = kept[contest.best_int8]
        if costs is None:
            return replace(contest, keep_float=chosen)
        return replace(contest, keep_float=chosen, regions=costs.regions(chosen), costs=costs)


def _is_mixture(costs: StepCosts, in_float: frozenset[str], config: BuildConfig) -> bool:
    """Tells whether layers are left on integers, and no more in float than may be."""
    return costs.any_on_integers(in_float) and costs.share_in_float(in_float) <= config.max_float_share


def compare_with_float(
    network: Network, ranges: Ranges, config: BuildConfig, engine: Path, contest: Contest, *, for_accuracy: bool
) -> Contest:
    """Times an int8 engine that has other layers in float than the one that was timed before; see `hold_contest`.

    The regions of that one are not those of this one, and are told no more.

    Args:
        network: Float network.
        ranges: Ranges of the engine.
        config: Settings of the engine that was timed before.
        engine: The engine.
        contest: What was found before.
        for_accuracy: Whether these layers are in float for accuracy: what they cost is measured as well.
    """
    with scratch_folder("jetseg-contest-") as folder:
        trial = TrialEngines(network, ranges, config, find_backend(config.backend), folder)
        engines = {**trial.in_float(), _INT8: open_network(engine)}
        if for_accuracy:
            engines[_BEFORE], _ = trial.mixed(_BEFORE)
        latencies = trial.time_ms(engines)
    before = latencies.pop(_BEFORE, None)
    return replace(contest, latencies_ms=latencies, regions=(), less_accurate_ms=before)
