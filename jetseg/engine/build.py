"""The build stage: float network in, engine with its measured accuracy out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import BaseModel

from jetseg.config import validate_config
from jetseg.data.dataset import Dataset
from jetseg.engine.accuracy_gate import AccuracyGate, GateResult
from jetseg.engine.backend import Backend, BuildReport, BuildRequest, find_backend
from jetseg.engine.budget import check_classes_of
from jetseg.engine.config import BuildConfig
from jetseg.engine.engine import open_engine
from jetseg.engine.float_cost import time_in_float
from jetseg.engine.result import BuildResult, EngineRejectedError
from jetseg.engine.retries import MOST_FLOAT_LAYERS, Attempt, attempts
from jetseg.errors import ConfigError, DataError
from jetseg.evaluation.accuracy import spread
from jetseg.evaluation.profile import measure_profile
from jetseg.manifest import EnginePrecision, Manifest, Stage
from jetseg.manifest_file import manifest_path
from jetseg.network import Network, save_manifest
from jetseg.preprocess import Preprocessor
from jetseg.quantization.arithmetic import ARITHMETICS
from jetseg.quantization.calibration import calibrate
from jetseg.quantization.ranges import Ranges
from jetseg.quantization.sensitivity import LayerEffect, layer_sensitivity
from jetseg.registry import BACKENDS
from jetseg.storage import atomic_path, check_place

_SENSITIVITY_FRAMES = 4


def build_engine(
    network: Network,
    config: BuildConfig,
    *,
    ranges: Ranges | None = None,
    dataset: Dataset | None = None,
    out: Path | None = None,
    gate: AccuracyGate | None = None,
) -> BuildResult:
    """Builds an engine, opens it again, and measures it against the float network if there are data.

    The pixels that keep the float network's class are counted; with labels, mIoU and the IoU of each class as well.

    An engine that loses more than its budget does not get to its place: it is kept beside it as
    `NAME.rejected...`, for study. An earlier engine at the place stays whole.

    Args:
        network: Float ONNX file.
        config: Settings; their precision is one, not "auto".
        ranges: Its ranges; without them, int8 calibrates on `dataset` and keeps the ranges beside the engine.
        dataset: Frames to calibrate on and to measure on.
        out: Engine file; by default in engines/, named after the network and the precision.
        gate: A gate that measured the float network already.

    Raises:
        EngineRejectedError: The engine lost too much; `result` tells what, and which layers are to blame.
        JetsegError: The network, ranges or data are wrong, or the backend's library is missing.
    """
    backend = find_backend(config.backend)
    options = validate_config(backend.options, config.options)
    place = engine_path(network, config.precision, backend.suffix, out)
    build = _Build(network, config, backend, options, dataset, place)
    build.check()
    gate = gate or build.make_gate()
    calibrated = config.precision == "int8" and ranges is None
    start = None if config.precision != "int8" else ranges or build.calibrate(config)
    tried: list[str] = []
    for attempt in attempts(config, start, build.calibrate, calibrated=calibrated):
        result = build.run(attempt, gate)
        tried.append(f"{attempt.name}: {'; '.join(result.violations) or 'passed'}")
        result = attempt.result = replace(result, attempts=tuple(tried))
        if not result.violations:
            result = build.with_profile(result)
            move_engine(result.path, build.place)
            return replace(result, path=build.place)
    raise EngineRejectedError(result)


def move_engine(source: Path, target: Path) -> None:
    """Moves an engine and its manifest to their place; until both are there, the hash check refuses the pair."""
    source.replace(target)
    manifest_path(source).replace(manifest_path(target))


def engine_path(network: Network, precision: str, suffix: str, out: Path | None) -> Path:
    """Returns where an engine goes: to `out`, or to engines/NAME.PRECISION.SUFFIX.

    Raises:
        ConfigError: That is the place of the network itself.
    """
    place = out or Path("engines") / f"{network.name}.{precision}{suffix}"
    if place.resolve() == network.path.resolve():
        raise ConfigError(f"{place} is the network itself.", "Give another `out`.")
    return place


@dataclass(frozen=True)
class _Build:
    """What all attempts have in common."""

    network: Network
    config: BuildConfig
    backend: Backend
    options: BaseModel
    dataset: Dataset | None
    place: Path

    @property
    def precision(self) -> EnginePrecision:
        """The one precision to build in."""
        if self.config.precision == "auto":
            raise ConfigError("Precision auto builds several engines.", "Choose one precision here.")
        return self.config.precision

    def check(self) -> None:
        """Refuses at once what would fail after a long calibration."""
        self.backend.check(self.precision, self.options)
        check_place(self.place)
        if self.config.keep_float and self.precision != "int8":
            raise ConfigError(f"`keep_float` is for int8, and this is {self.precision}.", "Leave it out.")
        if self.config.auto and self.dataset is None:
            raise ConfigError("`auto` needs data to judge by.", "Give `data`.")
        check_classes_of(self.config, self.network.manifest.classes)

    def make_gate(self) -> AccuracyGate | None:
        """Makes what judges the engines; None without data."""
        if self.dataset is None:
            return None
        split = self.dataset.split(self.config.eval_split)
        return AccuracyGate(self.network, split, self.config, self.config.eval_frames, self.config.threads)

    def calibrate(self, config: BuildConfig) -> Ranges:
        """Calibrates, and keeps the ranges beside the engine; attempts do not overwrite each other's."""
        if self.dataset is None:
            raise ConfigError("An int8 engine needs ranges.", "Give `calibration`, or `data` to calibrate on now.")
        marker = f".{config.method}" if self.config.auto else ""
        out = self.place.with_name(f"{self.place.name}{marker}.ranges.json")
        return calibrate(self.network, self.dataset, config.calibration(self.backend.arithmetic), out)

    def run(self, attempt: Attempt, gate: AccuracyGate | None) -> BuildResult:
        """Builds one engine aside, as rejected until it has passed, and judges it."""
        ranges, suffix = attempt.ranges, self.backend.suffix
        aside = self.place.with_name(f"{self.place.name.removesuffix(suffix)}.rejected{suffix}")
        network = ranges.network_for(self.backend.arithmetic or "") if ranges else self.network
        with atomic_path(aside) as temporary, BACKENDS.calling(self.config.backend):
            record, kept = ranges.record if ranges else None, frozenset(attempt.config.keep_float)
            report = self.backend.build(BuildRequest(network, self.precision, record, temporary, kept, self.options))
        manifest = _save(aside, self._manifest(attempt), report)
        if gate is None:
            if report.not_run_here is None:
                open_engine(aside, threads=self.config.threads).close()
            return BuildResult(aside, manifest, report, ranges=ranges)
        found = self._judge(aside, attempt, report, gate)
        if found.after:
            manifest = _save(aside, manifest.changed(accuracy=(found.after,)), report)
        layers: tuple[LayerEffect, ...] = ()
        if ranges and (found.violations or (self.config.sensitivity and found.measured)):
            layers = self._sensitive_layers(network, ranges, gate, report)
        return BuildResult(
            aside,
            manifest,
            report,
            found.before,
            found.after,
            found.violations,
            layers,
            agreement=found.agreement,
            ranges=ranges,
        )

    def with_profile(self, result: BuildResult) -> BuildResult:
        """Adds what a vehicle without labels compares its frames with; of an engine that cannot run, its parent's."""
        if self.dataset is None:
            return result
        try:
            split = self.dataset.split(self.config.split)
        except DataError:  # with given ranges the data need not have the calibration split
            split = self.dataset.split(self.config.eval_split)
        runs_here = result.report.not_run_here is None
        with open_engine(self.network, threads=self.config.threads) as parent:
            engine = open_engine(result.path, threads=self.config.threads) if runs_here else parent
            with engine:
                reference = parent.segment if runs_here else None
                images = self.config.images
                profile = measure_profile(engine.infer, result.manifest, split, frames=images, parent=reference)
        return replace(result, manifest=_save(result.path, result.manifest.changed(profile=profile), result.report))

    def _judge(self, engine: Path, attempt: Attempt, report: BuildReport, gate: AccuracyGate) -> GateResult:
        """Measures an engine; in place of one that cannot run here its exact simulation, if there is one."""
        if report.not_run_here is None:
            with open_engine(engine, threads=self.config.threads) as opened:
                return gate.judge(opened, f"{self.config.precision} engine")
        if self.config.precision == "fp32":
            return gate.judge_as_float()
        if attempt.ranges is None or self.backend.arithmetic != "tensorrt":
            return GateResult(gate.before)
        from jetseg.engine.simulation import simulate_tensorrt  # needs ONNX Runtime, which a Jetson may not have

        kept = frozenset(attempt.config.keep_float)
        with simulate_tensorrt(attempt.ranges, keep_float=kept, threads=self.config.threads) as simulated:
            return gate.judge(simulated, "engine, simulated", simulated=True)

    def _sensitive_layers(
        self, network: Network, ranges: Ranges, gate: AccuracyGate, report: BuildReport
    ) -> tuple[LayerEffect, ...]:
        """Returns the quantized layers, the most harmful first, the worst of them with what they cost in float."""
        if self.backend.arithmetic is None:
            return ()
        preprocess = Preprocessor(network.manifest.input)
        indices = spread(len(gate.split), _SENSITIVITY_FRAMES)
        feeds = [{network.image_input: preprocess(gate.split[index].image_hwc_u8).copy()} for index in indices]
        effects = layer_sensitivity(
            network.float_graph(),
            network.manifest,
            ARITHMETICS[self.backend.arithmetic],
            ranges.placement,
            ranges.tensors,
            feeds,
            self.config.threads,
        )
        if report.not_run_here is not None:
            return tuple(effects)
        worst, others = effects[:MOST_FLOAT_LAYERS], effects[MOST_FLOAT_LAYERS:]
        return (*time_in_float(worst, self.config.backend, self.config.threads or 1), *others)

    def _manifest(self, attempt: Attempt) -> Manifest:
        config, ranges = attempt.config, attempt.ranges
        settings: dict[str, object] = {"precision": config.precision, "backend": config.backend}
        if config.options:
            settings["options"] = dict(config.options)
        if config.keep_float:
            settings["keep_float"] = list(config.keep_float)
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


def _save(engine: Path, manifest: Manifest, report: BuildReport) -> Manifest:
    return save_manifest(engine, manifest, device=report.device, versions=report.toolchain)
