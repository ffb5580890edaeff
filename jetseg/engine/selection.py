"""Builds an engine in every precision that the device has, and keeps the fastest one that passes the gate."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from jetseg.artifact_file import move_artifact, remove_artifact
from jetseg.config import changed, validate_config
from jetseg.data.dataset import Dataset
from jetseg.engine.accuracy_gate import AccuracyGate
from jetseg.engine.backend import Backend, find_backend
from jetseg.engine.build import build_engine, engine_path
from jetseg.engine.config import BuildConfig
from jetseg.engine.engine import open_engine
from jetseg.engine.engine_build import EngineBuild
from jetseg.engine.result import BuildResult, EngineRejectedError
from jetseg.errors import ConfigError
from jetseg.evaluation.benchmark import Latency, benchmark
from jetseg.network import Network, save_manifest
from jetseg.preprocess import FrameU8, Preprocessor
from jetseg.quantization.ranges import Ranges
from jetseg.storage import check_place, writing


def build_fastest(
    network: Network,
    config: BuildConfig,
    *,
    dataset: Dataset | None,
    ranges: Ranges | None = None,
    out: Path | None = None,
    rounds: int = 5,
    seconds: float = 0.5,
    clock: Callable[[], float] = time.perf_counter,
) -> BuildResult:
    """Builds every candidate of a backend, times those that pass the gate in turn, and keeps the fastest.

    Args:
        network: Float ONNX file.
        config: Settings; their precision is not looked at.
        dataset: Frames to calibrate on, to measure on, and to time with.
        ranges: Its ranges; without them it is calibrated once.
        out: Engine file; by default in engines/.
        rounds: How often each candidate has its turn.
        seconds: Length of one turn.
        clock: Gives the time in seconds.

    Returns:
        The fastest engine; its `attempts` say what became of every candidate, its `latencies` how fast they were.

    Raises:
        ConfigError: There is no data to judge by, or the backend's engines do not run here.
        EngineRejectedError: None passed; it is the last one's.
        JetsegError: The network, ranges or data are wrong, or the backend's library is missing.
    """
    backend = find_backend(config.backend)
    if not backend.candidates:
        raise ConfigError(
            f"Engines of {config.backend} do not run here, so none can be found to be the fastest.",
            "Give a `precision`.",
        )
    if dataset is None:
        raise ConfigError("`precision` auto needs data to judge by.", "Give `data`.")
    place = engine_path(network, "auto", backend.suffix, out)
    check_place(place)
    with writing(place):
        passed, attempts = _build_all(network, config, backend, dataset, ranges, out)
        frame = dataset.split(config.eval_split)[0].image_hwc_u8
        latencies = _time(frame, passed, config, rounds=rounds, seconds=seconds, clock=clock)
        attempts += [f"{name}: passed, {latency.p50_ms:.2f} ms" for name, latency in latencies.items()]
        fastest = max(latencies, key=lambda name: latencies[name].speed_ratio)
        for name, result in passed.items():
            if name != fastest:
                remove_artifact(result.path)
        kept = _tell_latencies(passed[fastest], latencies)
        options = validate_config(backend.options, config.options)
        kept = EngineBuild(network, config, backend, options, dataset, place).with_estimator(kept)
        place = engine_path(network, kept.manifest.precision, backend.suffix, out)
        move_artifact(kept.path, place)
    return replace(kept, path=place, attempts=tuple(attempts), latencies=latencies)


def _build_all(
    network: Network, config: BuildConfig, backend: Backend, dataset: Dataset, ranges: Ranges | None, out: Path | None
) -> tuple[dict[str, BuildResult], list[str]]:
    """Builds every candidate; returns those that passed, by name, and what became of the others."""
    gate = AccuracyGate(network, dataset.split(config.eval_split), config, config.eval_frames, config.threads)
    passed: dict[str, BuildResult] = {}
    attempts: list[str] = []
    rejection: EngineRejectedError | None = None
    for name, own, place in _candidates(network, config, backend, out, attempts):
        try:
            result = passed[name] = build_engine(network, own, ranges=ranges, dataset=dataset, out=place, gate=gate)
        except EngineRejectedError as error:
            rejection, result = error, error.result
            attempts.append(f"{name}: {'; '.join(result.violations)}")
        ranges = ranges or result.ranges  # calibrated once for all
    if not passed:
        raise rejection or ConfigError("No precision can be built with these options.", "\n".join(attempts))
    return passed, attempts


def _candidates(
    network: Network, config: BuildConfig, backend: Backend, out: Path | None, attempts: list[str]
) -> Iterator[tuple[str, BuildConfig, Path]]:
    """Yields what to build, and where; what the options forbid is noted and left out."""
    place = engine_path(network, "auto", backend.suffix, out)
    for candidate in backend.candidates:
        options = {**config.options, **candidate.options}
        try:
            backend.check(candidate.precision, validate_config(backend.options, options))
        except ConfigError as error:
            attempts.append(f"{candidate.name}: left out. {error.found}")
            continue
        changes: dict[str, object] = {
            "precision": candidate.precision,
            "options": options,
            "force": True,
            "estimate": False,
        }
        if candidate.precision != "int8":
            changes |= {"keep_float": (), "auto": False}
        name = f"{place.name.removesuffix(backend.suffix)}.{candidate.name}.candidate{backend.suffix}"
        yield candidate.name, changed(config, **changes), place.with_name(name)


def _time(
    frame: FrameU8,
    passed: dict[str, BuildResult],
    config: BuildConfig,
    *,
    rounds: int,
    seconds: float,
    clock: Callable[[], float],
) -> dict[str, Latency]:
    """Times the engines in turn on one frame."""
    with ExitStack() as stack:
        runs: dict[str, Callable[[], object]] = {}
        for name, result in passed.items():
            engine = stack.enter_context(open_engine(result.path, threads=config.threads))
            runs[name] = partial(engine.infer, Preprocessor(engine.manifest.input)(frame).copy())
        return benchmark(runs, rounds=rounds, seconds=seconds, clock=clock)


def _tell_latencies(fastest: BuildResult, latencies: dict[str, Latency]) -> BuildResult:
    """Writes into the manifest of the fastest engine how fast all were."""
    manifest = fastest.manifest
    told = manifest.noted(auto_p50_ms={name: round(found.p50_ms, 3) for name, found in latencies.items()})
    return replace(
        fastest,
        manifest=save_manifest(fastest.path, told, device=manifest.device, versions=manifest.toolchain),
    )
