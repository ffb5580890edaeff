"""`--backend auto`: builds for every runtime that is installed here, and keeps the fastest engine that passes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from jetseg.artifact_file import move_artifact, remove_artifact
from jetseg.config import changed, validate_config
from jetseg.data.dataset import Dataset
from jetseg.engine.backend import Backend, find_backend
from jetseg.engine.build import build_engine
from jetseg.engine.config import BuildConfig
from jetseg.engine.engine import open_engine
from jetseg.engine.engine_build import EngineBuild
from jetseg.engine.result import BuildResult, EngineRejectedError
from jetseg.engine.selection import build_fastest
from jetseg.errors import CalibrationError, ConfigError, UnavailableError
from jetseg.evaluation.benchmark import Latency, benchmark, inference_on_noise
from jetseg.network import Network, save_manifest
from jetseg.quantization.ranges import Ranges
from jetseg.registry import BACKENDS
from jetseg.storage import check_place, writing


def build_for_any(
    network: Network,
    config: BuildConfig,
    *,
    dataset: Dataset | None = None,
    ranges: Ranges | None = None,
    out: Path | None = None,
    rounds: int = 5,
    seconds: float = 0.5,
) -> BuildResult:
    """Builds an engine for every backend that runs here, times in turn those that pass, and keeps the fastest.

    Args:
        network: Float ONNX file.
        config: Settings, with backend "auto"; their precision may be "auto" as well.
        dataset: Frames to calibrate on and to measure on.
        ranges: Its ranges; without them it is calibrated for each backend. One that they do not serve is left out.
        out: Engine file, whose suffix becomes that of the backend that wins; by default in engines/.
        rounds: How often each engine has its turn.
        seconds: Length of one turn.

    Returns:
        The fastest engine; its `attempts` say what became of every backend, its `latencies` how fast they were.

    Raises:
        ConfigError: Options are given, which belong to one backend; or nothing can be built.
        EngineRejectedError: None passed; it is the last one's.
        JetsegError: The network, ranges or data are wrong.
    """
    if config.options:
        raise ConfigError("Options belong to one backend, and `backend` auto builds for several.", "Name the backend.")
    base = out.with_suffix("") if out else Path("engines") / f"{network.name}.{config.precision}"
    check_place(base)
    attempts: list[str] = []
    passed: dict[str, BuildResult] = {}
    rejection: EngineRejectedError | None = None
    with writing(base):
        for name, backend in _backends(config, attempts):
            own = changed(config, backend=name, estimate=False)
            place = base.with_name(f"{base.name}.{name}.candidate{backend.suffix}")
            build = build_fastest if config.precision == "auto" else build_engine
            try:
                passed[name] = build(network, own, ranges=ranges, dataset=dataset, out=place)
            except EngineRejectedError as error:
                rejection = error
                attempts.append(f"{name}: {'; '.join(error.result.violations)}")
            except (ConfigError, CalibrationError, UnavailableError) as error:
                attempts.append(f"{name}: left out. {error.found}")
        if not passed:
            raise rejection or ConfigError("No backend can build this here.", "\n".join(attempts))
        latencies = _time(passed, config, rounds, seconds)
        fastest = max(latencies, key=lambda name: latencies[name].speed_ratio)
        kept = _kept(network, changed(config, backend=fastest), dataset, passed[fastest], latencies)
        place = base.with_name(f"{base.name}{find_backend(fastest).suffix}")
        move_artifact(kept.path, place)
        for name, result in passed.items():
            if name != fastest:
                remove_artifact(result.path)
    attempts += [
        f"{name}: {passed[name].manifest.precision} passed, {latency.p50_ms:.2f} ms"
        for name, latency in latencies.items()
    ]
    return replace(kept, path=place, attempts=tuple(attempts), latencies=latencies)


def _backends(config: BuildConfig, attempts: list[str]) -> Iterator[tuple[str, Backend]]:
    """Yields the backends whose engines run here; why another one is left out is noted."""
    for name in BACKENDS.names():
        try:
            backend = find_backend(name)
            if not backend.candidates:
                continue
            precision = backend.candidates[0].precision if config.precision == "auto" else config.precision
            backend.check(precision, validate_config(backend.options, {}))
        except (ConfigError, UnavailableError) as error:
            attempts.append(f"{name}: left out. {error.found}")
            continue
        yield name, backend


def _time(passed: dict[str, BuildResult], config: BuildConfig, rounds: int, seconds: float) -> dict[str, Latency]:
    with ExitStack() as stack:
        runs = {
            name: inference_on_noise(stack.enter_context(open_engine(result.path, threads=config.threads)))
            for name, result in passed.items()
        }
        return benchmark(runs, rounds=rounds, seconds=seconds)


def _kept(
    network: Network, config: BuildConfig, dataset: Dataset | None, result: BuildResult, latencies: dict[str, Latency]
) -> BuildResult:
    """Writes into the manifest of the fastest engine how fast all were, and adds its estimator."""
    told = result.manifest.noted(backend_p50_ms={name: round(found.p50_ms, 3) for name, found in latencies.items()})
    manifest = save_manifest(result.path, told, device=told.device, versions=told.toolchain)
    backend = find_backend(config.backend)
    build = EngineBuild(network, config, backend, backend.options(), dataset, result.path)
    return build.with_estimator(replace(result, manifest=manifest))
