"""INT8: what is kept of the pixels, which layers suffer, and what it gains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from jetseg.advice.finding import Bars, Finding, Option
from jetseg.advice.plan import Plan
from jetseg.advice.priors import QAT_RECOVERS
from jetseg.advice.stopwatch import Comparison
from jetseg.advice.workbench import Workbench
from jetseg.config import changed
from jetseg.engine.backend import find_backend
from jetseg.engine.blame import sensitive_layers
from jetseg.engine.build import build_engine
from jetseg.engine.config import BuildConfig
from jetseg.engine.contest import Contest
from jetseg.engine.result import BuildResult, EngineRejectedError
from jetseg.errors import ConfigError
from jetseg.quantization.sensitivity import LayerEffect

_IMAGES = 16
_LAYERS_SHOWN = 16
_LITTLE_CHANGES = 99.0
"""Percent of the pixels that keep their class, from which on no single layer is looked for."""
_WORTH_TRAINING = 0.2
"""Points of mIoU that INT8 must lose before it is worth training under quantization."""
_RUNS_PER_FRAME = 10
"""Roughly: forward and backward in torch, with quantizers, and the float network as the teacher."""
PLAN = Plan(precision="int8")


class Int8:
    """Calibrates on a few images, builds the engine that a build would hand over, and measures it."""

    name: ClassVar[str] = "int8"
    share: ClassVar[float] = 3.0

    def applies(self, bench: Workbench) -> str:
        """Returns why the backend builds no INT8 engine."""
        backend = find_backend(bench.config.backend)
        try:
            backend.check("int8", backend.options())
        except ConfigError as error:
            return str(error)
        return ""

    def run(self, bench: Workbench) -> Finding:
        """Builds the engine that the recipe's build would hand over, as far as there is time for its attempts."""
        result, passes = _build(bench)
        notes = list(_notes(result))
        if result.float_because == "no mixture" or not (passes or bench.clock.left() <= 0):
            return Finding(self.name, notes=tuple(notes), impossible="the gate refuses all that was tried")
        suffering = _suffering(bench, result)
        if suffering:
            worst = suffering[0]
            notes.append(f"the most harmful layer alone is {worst.layer}: {worst.agreement:.2f} % keep their class")
        if result.manifest.precision != "int8":
            return Finding(self.name, notes=tuple(notes), impossible="8 bits gain nothing on this backend")
        if result.contest is not None and bench.config.target is None:
            bench.know_speed(PLAN, _speed(result.contest))
            notes += _gate_notes(bench, result, result.contest) if passes else [_late_note(result)]
        drop = _drop(result)
        speed = bench.speedup(PLAN)
        source = f"{bench.stopwatch.source}; the loss measured with {_IMAGES} calibration images"
        options = [Option(PLAN, speed, drop, 0.0, bench.stopwatch.basis, "measured", source)]
        if drop > _WORTH_TRAINING:
            options.append(_trained(bench, speed, drop))
        return Finding(self.name, tuple(options), tuple(notes), figures=_figures(suffering))


def _settings(bench: Workbench) -> BuildConfig:
    """Returns settings of the recipe's gate; for another computer, those that measure and refuse nothing."""
    config = bench.config
    gate = config.gate if config.target is None else {"max_drop": 100.0, "max_class_drop": 100.0, "min_agreement": 0.0}
    return BuildConfig(
        precision="int8",
        backend=config.backend,
        threads=config.threads,
        split=config.split,
        images=_IMAGES,
        eval_split=config.eval_split,
        eval_frames=config.frames,
        estimate=False,
        auto=config.target is None,
        force=config.target is not None,
        **gate,
    )


def _build(bench: Workbench) -> tuple[BuildResult, bool]:
    """Builds an engine; returns it, that which the gate refuses as well, and whether it passed."""
    network, out = bench.model(Plan()), bench.folder / "probe.int8.onnx"

    def late() -> bool:
        return bench.clock.left() <= 0

    try:
        return build_engine(network, _settings(bench), dataset=bench.dataset, out=out, enough=late), True
    except EngineRejectedError as error:
        return error.result, False


def _speed(contest: Contest) -> Comparison:
    in_float, ms = (contest.latencies_ms[name] for name in (contest.best_float, contest.best_int8))
    return Comparison(in_float, ms, ms, ms)


def _drop(result: BuildResult) -> float:
    if result.parent_accuracy is None or result.accuracy is None:
        raise ConfigError("The frames have no labels, so what INT8 loses is not known.", "Give labelled data.")
    return (result.parent_accuracy.miou or 0.0) - (result.accuracy.miou or 0.0)


def _notes(result: BuildResult) -> list[str]:
    found = []
    if result.agreement is not None:
        found.append(f"{result.agreement.percent:.2f} % of the pixels keep the float network's class")
    total = len(result.report.integer_layers) + len(result.report.float_layers)
    if total:
        found.append(f"{len(result.report.integer_layers)} of {total} convolutions and products run on integers")
    return found


def _gate_notes(bench: Workbench, result: BuildResult, contest: Contest) -> list[str]:
    """Notes on the bench which layers the gate takes back to float and what these cost, and says so."""
    before, after = contest.less_accurate_ms, contest.latencies_ms[contest.best_int8]
    kept = result.manifest.stages[-1].settings.get("keep_float", ())
    floats = tuple(name for name in kept if name not in contest.keep_float)
    if before is None or not floats:
        return []
    bench.gate_floats, bench.gate_price = floats, max(1.0, after / before)
    macs = sum(result.report.macs.values())
    share = f" (in all {100.0 * (1.0 - result.report.integer_macs / macs):.1f} % of the work)" if macs else ""
    return [
        f"the gate refuses the fastest engine; the one that passes has {len(floats)} nodes more in float{share} and "
        f"takes {bench.gate_price:.2f} times as long, {after:.2f} ms in place of {before:.2f}: so chains in 8 bits are "
        "timed with the same nodes in float"
    ]


def _late_note(result: BuildResult) -> str:
    lost = "; ".join(result.violations)
    return (
        f"a build refuses this ({lost}), so it will keep layers in float, which is slower than is said here: there was "
        "no time to find out which"
    )


def _suffering(bench: Workbench, result: BuildResult) -> Sequence[LayerEffect]:
    """Returns the quantized layers, the most harmful first, where something is lost and there is time to look.

    That takes longer than all else in this probe.
    """
    backend = find_backend(bench.config.backend)
    arithmetic = backend.find_arithmetic(backend.find_scheme("int8", None))
    little = result.agreement is None or result.agreement.percent >= _LITTLE_CHANGES
    if little or arithmetic is None or result.ranges is None or bench.clock.left() <= 0:
        return ()
    built = result.manifest.stages[-1].settings
    config = changed(_settings(bench), keep_float=tuple(built.get("keep_float", ())))
    return sensitive_layers(
        result.ranges,
        arithmetic,
        result.report.integer_layers,
        bench.dataset.split(bench.config.eval_split),
        config,
        more_in_float={},
        runs_here=False,  # what they cost in float is not asked
    )


def _figures(suffering: Sequence[LayerEffect]) -> tuple[Bars, ...]:
    worst = suffering[:_LAYERS_SHOWN]
    if not worst:
        return ()
    names, changed_percent = [effect.layer for effect in worst], [100.0 - effect.agreement for effect in worst]
    return (Bars("Each layer alone in 8 bits", "pixels that change their class, percent", names, changed_percent),)


def _trained(bench: Workbench, speed: float, drop: float) -> Option:
    """Returns training under quantization, which is not tried; it costs some runs of the network for each frame."""
    frames = len(bench.dataset.split(bench.config.split)) * bench.config.qat_epochs
    hours = frames * _RUNS_PER_FRAME * bench.float_ms / 3.6e6
    expected = drop * (1 - QAT_RECOVERS.value)
    plan = Plan(precision="int8", qat=True)
    return Option(plan, speed, expected, hours, bench.stopwatch.basis, "prior", QAT_RECOVERS.source)
