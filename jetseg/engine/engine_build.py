"""One build: what all its attempts have in common, and how one of them is made and judged."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import BaseModel

from jetseg.artifact_file import new_artifact
from jetseg.config import changed
from jetseg.data.contract import Split
from jetseg.data.dataset import Dataset
from jetseg.engine.accuracy_gate import AccuracyGate, GateResult
from jetseg.engine.backend import Backend, BuildReport, BuildRequest
from jetseg.engine.blame import sensitive_layers
from jetseg.engine.budget import check_budget
from jetseg.engine.config import BuildConfig
from jetseg.engine.contest import Contest
from jetseg.engine.engine import open_engine
from jetseg.engine.mixtures import Mixture, costs_of_layers, find_mixtures
from jetseg.engine.proof import prove
from jetseg.engine.result import BuildResult
from jetseg.engine.retries import Attempt
from jetseg.errors import ConfigError, DataError
from jetseg.evaluation.learning import learn_estimator
from jetseg.evaluation.profile import measure_profile
from jetseg.manifest import EnginePrecision, Manifest, Stage
from jetseg.network import Network, save_manifest
from jetseg.quantization.arithmetic import Arithmetic
from jetseg.quantization.calibration import calibrate
from jetseg.quantization.config import SchemeName
from jetseg.quantization.ranges import Ranges
from jetseg.registry import BACKENDS
from jetseg.storage import check_place


@dataclass(frozen=True)
class EngineBuild:
    """What all attempts have in common."""

    network: Network
    config: BuildConfig
    backend: Backend
    options: BaseModel
    dataset: Dataset | None
    place: Path
    contest: Contest | None = None

    @property
    def precision(self) -> EnginePrecision:
        """The one precision to build in."""
        if self.config.precision == "auto":
            raise ConfigError("Precision auto builds several engines.", "Choose one precision here.")
        return self.config.precision

    @property
    def scheme(self) -> SchemeName | None:
        """What its quantizers compute; None for none, and where the backend has no choice."""
        return self.backend.find_scheme(self.precision, self.config.scheme)

    @property
    def arithmetic(self) -> Arithmetic | None:
        """How its quantizers round; None where the backend does not tell."""
        return self.backend.find_arithmetic(self.scheme)

    @property
    def takes_ranges(self) -> bool:
        """Whether the engine has quantizers of calibrated ranges."""
        return self.backend.takes_ranges(self.precision, self.options)

    def check(self) -> None:
        """Refuses at once what would fail after a long calibration."""
        self.backend.check(self.precision, self.options)
        self.backend.find_scheme(self.precision, self.config.scheme)
        check_place(self.place)
        if self.config.keep_float and not self.takes_ranges:
            raise ConfigError(
                f"`keep_float` is for engines with calibrated quantizers, and this {self.precision} one has none.",
                "Leave it out.",
            )
        if self.config.auto and self.dataset is None:
            raise ConfigError("`auto` needs data to judge by.", "Give `data`.")
        check_budget(self.config, self.network.manifest)

    def make_gate(self) -> AccuracyGate | None:
        """Makes what judges the engines; None without data."""
        if self.dataset is None:
            return None
        split = self.dataset.split(self.config.eval_split)
        return AccuracyGate(self.network, split, self.config, self.config.eval_frames, self.config.threads)

    def calibrate(self, config: BuildConfig) -> Ranges:
        """Calibrates, and keeps the ranges beside the engine; attempts do not overwrite each other's."""
        if self.dataset is None:
            raise ConfigError(
                f"An {self.precision} engine needs ranges.", "Give `calibration`, or `data` to calibrate on now."
            )
        kept = f"-{len(config.keep_float)}" if config.keep_float != self.config.keep_float else ""
        marker = f".{config.method}{kept}" if self.config.auto else ""
        out = self.place.with_name(f"{self.place.name}{marker}.ranges.json")
        return calibrate(self.network, self.dataset, config.calibration(self.arithmetic), out)

    def beside(self, mark: str) -> Path:
        """Returns the place of an engine that is not handed over, or not yet."""
        suffix = self.backend.suffix
        return self.place.with_name(f"{self.place.name.removesuffix(suffix)}.{mark}{suffix}")

    def corrected(self, ranges: Ranges) -> Network:
        """Returns the network that calibration made for this arithmetic."""
        return ranges.network_for(self.arithmetic.corrected_for if self.arithmetic else "")

    def run(self, attempt: Attempt, gate: AccuracyGate | None) -> BuildResult:
        """Builds one engine aside, as rejected until it has passed, and judges it."""
        ranges, aside = attempt.ranges, self.beside("rejected")
        network = self.corrected(ranges) if ranges else self.network
        attempt.config = self.without_strangers(attempt.config, network)
        with new_artifact(aside) as draft, BACKENDS.calling(self.config.backend):
            record, kept = ranges.record if ranges else None, frozenset(attempt.config.keep_float)
            asked = BuildRequest(network, self.precision, record, draft.path, kept, self.options, self.scheme)
            report = self.backend.build(asked)
            manifest = draft.describe(self._manifest(attempt), device=report.device, versions=report.toolchain)
        if gate is None:
            if report.not_run_here is None:
                open_engine(aside, threads=self.config.threads).close()
            return BuildResult(aside, manifest, report, ranges=ranges)
        found = self._judge(aside, attempt, report, gate)
        if found.after:
            manifest = _save(aside, manifest.changed(accuracy=(found.after,)), report)
        judged = found.before, found.after, found.violations
        return BuildResult(aside, manifest, report, *judged, agreement=found.agreement, ranges=ranges)

    def mixtures(self, gate: AccuracyGate | None, attempt: Attempt) -> list[Mixture]:
        """Returns what may be in float beside what an attempt has there, the fastest first, the most accurate last."""
        ranges, made = attempt.ranges, self.blame(attempt, gate)
        if ranges is None or self.arithmetic is None or made.agreement is None:
            return []
        kept, effects = frozenset(attempt.config.keep_float), made.sensitive_layers
        costs = self.contest.costs if self.contest else None
        if costs is None:
            graph, integer = self.corrected(ranges).float_graph(), frozenset(made.report.integer_layers)
            placement = self.arithmetic.place(graph, ranges.placement, ranges.tensors, kept, integer)
            costs = costs_of_layers(graph, placement, effects)
        lost, most = 100.0 - made.agreement.percent, self.config.max_float_share
        return find_mixtures(costs.without(kept), effects, lost, most)

    def blame(self, attempt: Attempt, gate: AccuracyGate | None) -> BuildResult:
        """Notes in what came of an attempt which layers are to blame; that takes a while, so it is done but once."""
        result, ranges = attempt.made, attempt.ranges
        if gate is None or ranges is None or self.arithmetic is None or result.agreement is None:
            return result
        if result.sensitive_layers:
            return result
        layers = sensitive_layers(
            ranges,
            self.arithmetic,
            result.report.integer_layers,
            gate.split,
            attempt.config,
            more_in_float=self.contest.more_in_float if self.contest else {},
            runs_here=result.report.not_run_here is None and self.precision == "int8",
        )
        attempt.result = replace(result, sensitive_layers=layers)
        return attempt.made

    def with_profile(self, result: BuildResult) -> BuildResult:
        """Adds what a vehicle without labels compares its frames with; of an engine that cannot run, its parent's."""
        if self.dataset is None or result.manifest.output.task == "depth":
            return result
        split = _profile_split(self.dataset, self.config)
        runs_here = result.report.not_run_here is None
        with open_engine(self.network, threads=self.config.threads) as parent:
            engine = open_engine(result.path, threads=self.config.threads) if runs_here else parent
            with engine:
                reference = parent.segment if runs_here else None
                images = self.config.images
                profile = measure_profile(engine.infer, result.manifest, split, frames=images, parent=reference)
        return replace(result, manifest=_save(result.path, result.manifest.changed(profile=profile), result.report))

    def with_estimator(self, result: BuildResult) -> BuildResult:
        """Adds what a vehicle without labels estimates accuracy by; of an engine that cannot run, its parent's."""
        if self.dataset is None or not self.config.estimate or result.manifest.output.task == "depth":
            return result
        split, threads = _profile_split(self.dataset, self.config), self.config.threads
        runs_here = result.report.not_run_here is None
        with (
            open_engine(self.network, threads=threads) as parent,
            open_engine(result.path if runs_here else self.network, threads=threads) as engine,
        ):
            learned = learn_estimator(engine.infer, result.manifest, split, parent=parent.segment)
        if learned is None:
            return result
        return replace(result, manifest=_save(result.path, result.manifest.changed(estimator=learned), result.report))

    def tell_speed(self, result: BuildResult, contest: Contest) -> BuildResult:
        """Notes in an engine's manifest a comparison that was made after it was built."""
        manifest = result.manifest.noted(speed=contest.record())
        return replace(result, manifest=_save(result.path, manifest, result.report))

    def without_strangers(self, config: BuildConfig, network: Network) -> BuildConfig:
        """Leaves out what was found to be better in float in a network with other corrections, and is not in this."""
        there = {
            *self.config.keep_float,
            *network.float_graph().producer,
        }  # what was asked for is refused, not left out
        names = tuple(name for name in config.keep_float if name in there)
        return config if names == config.keep_float else changed(config, keep_float=names)

    def _judge(self, engine: Path, attempt: Attempt, report: BuildReport, gate: AccuracyGate) -> GateResult:
        """Measures an engine; in place of one that cannot run here its exact simulation, if there is one."""
        if report.not_run_here is None:
            with open_engine(engine, threads=self.config.threads) as opened:
                return gate.judge(opened, f"{self.config.precision} engine")
        if self.config.precision == "fp32":
            return gate.judge_as_float()
        if self.backend.arithmetic != "tensorrt":
            return GateResult(gate.before)
        from jetseg.engine.simulation import simulate  # needs ONNX Runtime, which a Jetson may not have

        kept, threads = frozenset(attempt.config.keep_float), self.config.threads
        simulated = simulate(self.network, self.precision, attempt.ranges, self.scheme, kept, threads)
        if simulated is None:
            return GateResult(gate.before)
        with simulated:
            return gate.judge(simulated, "engine, simulated", simulated=True)

    def _manifest(self, attempt: Attempt) -> Manifest:
        config, ranges = attempt.config, attempt.ranges
        settings: dict[str, object] = {"precision": config.precision, "backend": config.backend}
        if self.scheme is not None:
            settings["scheme"] = self.scheme
        if config.options:
            settings["options"] = dict(config.options)
        if config.keep_float:
            settings["keep_float"] = list(config.keep_float)
        if self.contest is not None:
            settings["speed"] = self.contest.record()
        if ranges is not None:
            found = ranges.record
            settings |= {"method": found.method, "frames": found.frames, "data": found.data}
        return self.network.manifest.derive(
            Stage(name="build-engine", settings=settings),
            kind="engine",
            backend=config.backend,
            precision=self.precision,
            parent_sha256=self.network.sha256,
            calibration_sha256=ranges.sha256 if ranges else None,
        )


def _profile_split(dataset: Dataset, config: BuildConfig) -> Split:
    """Returns the frames that count as normal."""
    try:
        return dataset.split(config.split)
    except DataError:  # with given ranges the data need not have the calibration split
        return dataset.split(config.eval_split)


def _save(engine: Path, manifest: Manifest, report: BuildReport) -> Manifest:
    manifest = manifest.changed(proof=prove(manifest))
    return save_manifest(engine, manifest, device=report.device, versions=report.toolchain)
