"""The build stage: float network in, engine with its measured accuracy out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from jetseg.artifact_file import move_artifact, remove_artifact
from jetseg.config import changed, validate_config
from jetseg.data.dataset import Dataset
from jetseg.engine.accuracy_gate import AccuracyGate
from jetseg.engine.backend import Candidate, find_backend
from jetseg.engine.config import BuildConfig
from jetseg.engine.contest import Contest, compare_with_float, hold_contest
from jetseg.engine.engine_build import EngineBuild
from jetseg.engine.result import BuildResult, EngineRejectedError
from jetseg.engine.retries import Attempt, attempts
from jetseg.errors import ConfigError
from jetseg.network import Network
from jetseg.quantization.ranges import Ranges
from jetseg.storage import writing


def build_engine(
    network: Network,
    config: BuildConfig,
    *,
    ranges: Ranges | None = None,
    dataset: Dataset | None = None,
    out: Path | None = None,
    gate: AccuracyGate | None = None,
    enough: Callable[[], bool] = lambda: False,
) -> BuildResult:
    """Builds an engine, opens it again, and measures it against the float network if there are data.

    The pixels that keep the float network's class are counted; with labels, mIoU and the IoU of each class as well.

    An engine that loses more than its budget does not get to its place: it is kept beside it as
    `NAME.rejected...`, for study. An earlier engine at the place stays whole.

    Args:
        network: Float ONNX file.
        config: Settings; their precision is one, not "auto".
        ranges: Its ranges; without them, a precision with quantizers calibrates on `dataset` and keeps the ranges
            beside the engine.
        dataset: Frames to calibrate on and to measure on.
        out: Engine file; by default in engines/, named after the network and the precision.
        gate: A gate that measured the float network already.
        enough: Asked after each attempt of `auto` whether to try no more, although it might get better.

    Raises:
        EngineRejectedError: The engine lost too much; `result` tells what, and which layers are to blame.
        JetsegError: The network, ranges or data are wrong, or the backend's library is missing.
    """
    backend = find_backend(config.backend)
    options = validate_config(backend.options, config.options)
    place = engine_path(network, config.precision, backend.suffix, out)
    build = EngineBuild(network, config, backend, options, dataset, place)
    build.check()
    with writing(place):
        return _build(build, ranges, gate or build.make_gate(), out, enough)


def engine_path(network: Network, precision: str, suffix: str, out: Path | None) -> Path:
    """Returns where an engine goes: to `out`, or to engines/NAME.PRECISION.SUFFIX.

    Raises:
        ConfigError: That is the place of the network itself.
    """
    place = out or Path("engines") / f"{network.name}.{precision}{suffix}"
    if place.resolve() == network.path.resolve():
        raise ConfigError(f"{place} is the network itself.", "Give another `out`.")
    return place


def _build(
    build: EngineBuild,
    ranges: Ranges | None,
    gate: AccuracyGate | None,
    out: Path | None,
    enough: Callable[[], bool],
) -> BuildResult:
    """Builds until an engine passes and is faster than any in float, and puts that one in its place."""
    network, asked = build.network, build.config
    config = asked
    if not build.takes_ranges:
        return _finish(build, _best_attempt(build, attempts(config), gate))
    checked = ranges is None or gate is not None or build.corrected(ranges) == network
    contest = (
        hold_contest(network, ranges, config, mix=checked) if build.precision == "int8" else None
    )  # before a calibration, which takes longer; corrections of another mixture may harm, so they are not built unseen
    if contest is not None:
        if contest.gain < 1.0 and not config.force:
            return replace(_in_float(build, contest, gate, out), float_because="no gain")
        config = changed(config, keep_float=tuple(dict.fromkeys((*config.keep_float, *sorted(contest.keep_float)))))
        build = replace(build, contest=contest)
    start = ranges or build.calibrate(config)
    mixed = ranges is not None and contest is not None and bool(contest.keep_float) and contest.int8_gains
    same = ranges is not None and ranges.record.method == config.method and config.keep_float == asked.keep_float
    known = ranges is None or (same and bool(ranges.record.trials))
    plain = asked if mixed else None
    mixtures = partial(build.mixtures, gate)
    tries = attempts(config, start, build.calibrate, calibrated=known, plain=plain, mixtures=mixtures)
    best = _best_attempt(build, tries, gate, enough)
    if best.in_float and build.precision == "int8" and not best.made.report.integer_layers:
        remove_artifact(best.made.path)
        made = _in_float(build, contest, gate, out)
        return replace(made, float_because="no mixture", attempts=(*best.made.attempts, *made.attempts))
    if contest is not None and best.ranges is not None and _other_than_timed(build, best, config, ranges):
        before = build.without_strangers(config, build.corrected(best.ranges))
        place, accurate = best.made.path, best.in_float
        contest = compare_with_float(network, best.ranges, before, place, contest, for_accuracy=accurate)
        if contest.gain < 1.0 and not config.force:
            remove_artifact(best.made.path)
            made = _in_float(build, contest, gate, out)
            return replace(made, float_because="no gain", attempts=(*best.made.attempts, *made.attempts))
        best.result = build.tell_speed(best.made, contest)
    return _finish(replace(build, contest=contest), best)


def _other_than_timed(build: EngineBuild, best: Attempt, config: BuildConfig, ranges: Ranges | None) -> bool:
    """Tells whether an engine has other layers in float than the one that was timed, or is rescaled as that was not."""
    if best.config.keep_float != config.keep_float or best.ranges is None:
        return True
    stages = build.corrected(best.ranges).manifest.stages
    return ranges is None and any("rescale" in stage.settings.get("corrections", ()) for stage in stages)


def _best_attempt(
    build: EngineBuild,
    tries: Iterator[Attempt],
    gate: AccuracyGate | None,
    enough: Callable[[], bool] = lambda: False,
) -> Attempt:
    """Makes the attempts, and returns the last one that passes, which is kept beside the engine's place."""
    made: list[Attempt] = []
    best: Attempt | None = None
    stopped = False
    for attempt in tries:
        result = attempt.result = build.run(attempt, gate)
        made.append(attempt)
        if build.config.sensitivity:
            build.blame(attempt, gate)
        if not result.violations:
            best = attempt
            move_artifact(result.path, build.beside("passed"))
        if stopped := enough():
            break
    told = tuple(map(_told, made))
    if best is None:
        blamed = next((attempt for attempt in made if attempt.made.sensitive_layers), made[-1])
        layers = (blamed.made if stopped else build.blame(blamed, gate)).sensitive_layers  # looking for them takes long
        result = replace(made[-1].made, attempts=told, sensitive_layers=layers, contest=build.contest)
        closest = min(made, key=lambda attempt: attempt.made.loss) if build.config.auto else None
        raise EngineRejectedError(result, _told(closest) if closest else None)
    remove_artifact(build.beside("rejected"))
    best.result = replace(best.made, path=build.beside("passed"), attempts=told)
    return best


def _told(attempt: Attempt) -> str:
    """Says what came of an attempt; of one with more in float than was asked, how much of the work that is."""
    report, outcome = attempt.made.report, "; ".join(attempt.made.violations) or "passed"
    work = sum(report.macs.values())
    if not attempt.in_float or not work:
        return f"{attempt.name}: {outcome}"
    share = 100.0 * (1.0 - report.integer_macs / work)
    return f"{attempt.name}, {share:.1f} % of the multiply-accumulates: {outcome}"


def _finish(build: EngineBuild, best: Attempt) -> BuildResult:
    """Brings an engine that passed to its place."""
    result = build.with_estimator(build.with_profile(best.made))
    move_artifact(result.path, build.place)
    return replace(result, path=build.place, contest=build.contest)


def _in_float(build: EngineBuild, contest: Contest | None, gate: AccuracyGate | None, out: Path | None) -> BuildResult:
    """Builds the fastest float engine in place of one with 8 bits; without a comparison that in single precision."""
    best = contest.floats[contest.best_float] if contest else Candidate("fp32", "fp32")
    options = {**build.config.options, **best.options}
    changes: dict[str, object] = {"precision": best.precision, "scheme": None, "options": options}
    config = changed(build.config, **changes, keep_float=(), auto=False)
    place = engine_path(build.network, best.precision, build.backend.suffix, out)
    checked = validate_config(build.backend.options, options)
    instead = replace(build, config=config, options=checked, place=place, contest=contest)
    return _finish(instead, _best_attempt(instead, attempts(config), gate))
