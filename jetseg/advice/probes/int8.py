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
        """Builds an engine; where the recipe's gate refuses it, also the one that passes, as the recipe does."""
        result = first = _build(bench, _settings(bench))
        if first.violations and bench.config.target is None and bench.clock.left() > 0:
            result = _build(bench, changed(_settings(bench), auto=True))
            if result.violations or result.float_because == "no mixture":
                return Finding(self.name, notes=tuple(_notes(first)), impossible="the gate refuses all that was tried")
        notes, suffering = list(_notes(result)), _suffering(bench, result)
        if suffering:
            worst = suffering[0]
            notes.append(f"the most harmful layer alone is {worst.layer}: {worst.agreement:.2f} % keep their class")
        if result.manifest.precision != "int8":
            return Finding(self.name, notes=tuple(notes), impossible="8 bits gain nothing on this backend")
        if result.contest is not None and bench.config.target is None:
            bench.know_speed(PLAN, _speed(result.contest))
            if first.violations and first.contest is not None:
                bench.gate_price = _speed(result.contest).ms / _speed(first.contest).ms
                notes.append(_price_note(first, bench.gate_price, passes=result is not first))
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
        force=config.target is not None,
        **gate,
    )


def _build(bench: Workbench, config: BuildConfig) -> BuildResult:
    """Builds an engine, that which the gate refuses as well."""
    try:
        return build_engine(bench.model(Plan()), config, dataset=bench.dataset, out=bench.folder / "probe.int8.onnx")
    except EngineRejectedError as error:
        return error.result


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


def _price_note(refused: BuildResult, price: float, *, passes: bool) -> str:
    lost = "; ".join(refused.violations)
    if not passes:
        return f"a build refuses this ({lost}), so it will keep layers in float, which is slower than is said here"
    return (
        f"a build refuses the fastest engine ({lost}); the one that passes takes {price:.2f} times as long, and so "
        "is taken for every chain in 8 bits"
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
