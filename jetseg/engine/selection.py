"""Builds an engine in every precision that the device has, and keeps the fastest one that passes the gate."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType

from pydantic import BaseModel

from jetseg.data.specs import open_dataset
from jetseg.engine.build import move_engine
from jetseg.engine.build import run as build
from jetseg.engine.build_config import BuildConfig, BuildResult, EngineRejectedError
from jetseg.engine.contract import Candidate
from jetseg.engine.opening import backend_module, open_runner
from jetseg.engine.retries import ranges_beside
from jetseg.errors import ConfigError
from jetseg.evaluate.benchmark import Latency, benchmark
from jetseg.manifest import Accuracy, Stage, load_manifest, manifest_path, save_manifest, validate_config
from jetseg.preprocess import Preprocessor


@dataclass(frozen=True)
class Contest:
    """What `run` made.

    Attributes:
        result: The winner; its `attempts` say what became of every candidate.
        latencies: How fast those were that passed, alternated on this machine, by name.
    """

    result: BuildResult
    latencies: dict[str, Latency]


def run(
    config: BuildConfig,
    *,
    rounds: int = 5,
    seconds: float = 0.5,
    clock: Callable[[], float] = time.perf_counter,
) -> Contest:
    """Builds every candidate of a backend, times those that pass the gate, and keeps the fastest.

    Args:
        config: What is built; its precision is not looked at.
        rounds: How often each candidate has its turn.
        seconds: Length of one turn.
        clock: Gives the time in seconds.

    Raises:
        ConfigError: There is no data to judge by, or the backend's engines do not run here.
        EngineRejectedError: None passed; it is the last one's.
        JetsegError: The network, ranges or data are wrong, or the backend's library is missing.
    """
    backend = backend_module(config.backend, "build")
    if not hasattr(backend, "CANDIDATES"):
        raise ConfigError(
            f"Engines of {config.backend} do not run here, so none can be found to be the fastest.",
            "Give a --precision.",
        )
    if config.data is None:
        raise ConfigError("--precision auto needs data to judge by.", "Give --data SPEC.")
    passed: dict[str, BuildResult] = {}
    attempts: list[str] = []
    rejection: EngineRejectedError | None = None
    before: Accuracy | None = None
    for candidate, own in _candidates(config, backend, attempts):
        try:
            result = passed[candidate.name] = build(own, before=before)
        except EngineRejectedError as error:
            rejection, result = error, error.result
            attempts.append(f"{candidate.name}: {'; '.join(error.result.broken)}")
        before = result.parent_accuracy
    if not passed:
        raise rejection or ConfigError("No precision can be built with these options.", "\n".join(attempts))
    latencies = _time(config, passed, partial(benchmark, rounds=rounds, seconds=seconds, clock=clock))
    attempts += [f"{name}: passed, {latency.p50_ms:.2f} ms" for name, latency in latencies.items()]
    winner = max(latencies, key=lambda name: latencies[name].speed_ratio)
    for name, result in passed.items():
        if name != winner:
            result.engine.unlink()
            manifest_path(result.engine).unlink()
    return Contest(_crown(config, backend, passed[winner], latencies, attempts), latencies)


def _candidates(
    config: BuildConfig, backend: ModuleType, attempts: list[str]
) -> Iterator[tuple[Candidate, BuildConfig]]:
    """Yields what to build, calibrating at most once; what the options forbid is noted and left out."""
    suffix, calibration = backend.ENGINE_SUFFIX, config.calibration
    place = config.out or Path("engines") / f"{config.model.stem}{suffix}"
    candidates: tuple[Candidate, ...] = backend.CANDIDATES
    for candidate in candidates:
        options = {**config.options, **candidate.options}
        try:
            settings: BaseModel = validate_config(backend.Options, dict(options))
            backend.check(candidate.precision, settings)
        except ConfigError as error:
            attempts.append(f"{candidate.name}: left out. {error.found}")
            continue
        out = place.with_name(f"{place.name.removesuffix(suffix)}.{candidate.name}.candidate{suffix}")
        changes: dict[str, object] = {"precision": candidate.precision, "out": out, "options": options}
        if candidate.precision == "int8":
            changes["calibration"] = calibration
        else:
            changes |= {"keep_float": (), "auto": False}
        own = config.model_copy(update=changes)
        yield candidate, own
        ranges = ranges_beside(out, own)
        if calibration is None and candidate.precision == "int8" and ranges.is_file():
            calibration = ranges


def _time(
    config: BuildConfig, passed: dict[str, BuildResult], compare: Callable[..., dict[str, Latency]]
) -> dict[str, Latency]:
    """Times the engines in turn on one frame."""
    frame = open_dataset(str(config.data), config.eval_split)[0].image_hwc_u8
    with ExitStack() as stack:
        runs: dict[str, Callable[[], object]] = {}
        for name, result in passed.items():
            runner = open_runner(result.engine, threads=config.threads)
            stack.callback(runner.close)
            runs[name] = partial(runner.infer, Preprocessor(runner.manifest.input)(frame).copy())
        return compare(runs)


def _crown(
    config: BuildConfig, backend: ModuleType, winner: BuildResult, latencies: dict[str, Latency], attempts: list[str]
) -> BuildResult:
    """Moves the winner to its place; its manifest tells how fast all were."""
    manifest = load_manifest(winner.engine)
    *earlier, last = manifest.stages
    settings = {**last.settings, "auto_p50_ms": {name: round(found.p50_ms, 3) for name, found in latencies.items()}}
    told = manifest.model_copy(update={"stages": (*earlier, Stage(name=last.name, settings=settings))})
    told = save_manifest(winner.engine, told, device=manifest.device, versions=manifest.toolchain)
    default = Path("engines") / f"{config.model.stem}.{told.precision}{backend.ENGINE_SUFFIX}"
    place = config.out or default
    move_engine(winner.engine, place)
    return replace(winner, engine=place, manifest=told, attempts=tuple(attempts))
