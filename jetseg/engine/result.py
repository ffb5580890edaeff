"""What a build tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from jetseg.engine.backend import BuildReport
from jetseg.engine.contest import Contest
from jetseg.errors import GateError
from jetseg.evaluation.agreement import Agreement
from jetseg.evaluation.benchmark import Latency
from jetseg.manifest import Manifest
from jetseg.measured import Accuracy
from jetseg.quantization.ranges import Ranges
from jetseg.quantization.sensitivity import LayerEffect


@dataclass(frozen=True)
class BuildResult:
    """An engine that was built, and what it lost.

    Attributes:
        path: The engine file.
        manifest: Its manifest.
        report: Which layers run in which precision.
        parent_accuracy: Accuracy of the float network; None without labelled data.
        accuracy: Accuracy of the engine on the same frames.
        violations: What it lost beyond the budget.
        sensitive_layers: Its quantized layers, the most harmful first, then other operators on integers, likewise; if
            it lost too much or they were asked for.
        attempts: What was tried, and what came of it.
        agreement: What it shares with the float network, with labels and without; None without data.
        ranges: The ranges that an int8 engine was built from.
        latencies: How fast the candidates of precision "auto" were that passed, alternated on this machine, by name.
        contest: Whether 8 bits pay, and where; None if that was not looked at.
        float_because: Why this is a float engine where one with 8 bits was asked for: they gain no time here, or only
            what has none of them passes.
    """

    path: Path
    manifest: Manifest
    report: BuildReport
    parent_accuracy: Accuracy | None = None
    accuracy: Accuracy | None = None
    violations: tuple[str, ...] = ()
    sensitive_layers: tuple[LayerEffect, ...] = ()
    attempts: tuple[str, ...] = ()
    agreement: Agreement | None = None
    ranges: Ranges | None = None
    latencies: Mapping[str, Latency] = field(default_factory=dict)
    contest: Contest | None = None
    float_because: Literal["no gain", "no mixture"] | None = None

    @property
    def scheme(self) -> str | None:
        """What the engine's quantizers compute; None for none, and for a backend that has no choice."""
        built = next((stage for stage in reversed(self.manifest.stages) if stage.name == "build-engine"), None)
        return built.settings.get("scheme") if built else None

    @property
    def loss(self) -> float:
        """Percent of the pixels that changed class, plus the points of mIoU lost; infinite if nothing was measured."""
        if self.agreement is None:
            return float("inf")
        lost = 100.0 - self.agreement.percent
        if self.parent_accuracy is None or self.accuracy is None:
            return lost
        return lost + (self.parent_accuracy.miou or 0.0) - (self.accuracy.miou or 0.0)


class EngineRejectedError(GateError):
    """An engine lost more accuracy than allowed.

    Args:
        result: What was built last, kept aside for study.
        closest: Where `auto` tried all it could, which attempt lost least, and what.

    Attributes:
        result: As given.
    """

    def __init__(self, result: BuildResult, closest: str | None = None) -> None:
        self.result = result
        layers = ", ".join(f"{effect.layer} ({effect.agreement:.2f} %)" for effect in result.sensitive_layers[:3])
        blame = f" Most harmful layers, by pixels that keep their class: {layers}." if layers else ""
        nearest = f" The closest of {len(result.attempts)} attempts: {closest}." if closest else ""
        ways = "" if closest else "keep the named layers in float with `keep_float`; let `auto` try all this; "
        super().__init__(
            f"The engine is rejected: {'; '.join(result.violations)}.{blame}{nearest} It is kept as {result.path}.",
            f"Calibrate on more images, with another `method` or `preset` best; {ways}or train with quantization "
            "(`jetseg qat`).",
        )
