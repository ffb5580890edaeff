"""Distillation: how far away a teacher is, and how much of that a student has come up to elsewhere."""

from __future__ import annotations

from typing import ClassVar

from jetseg.advice.finding import Finding, Option
from jetseg.advice.plan import Plan
from jetseg.advice.priors import DISTILLATION_DISTANCE, DISTILLATION_SHARE
from jetseg.advice.probe import NEEDS_TORCH
from jetseg.advice.workbench import Workbench


class Distillation:
    """Scores the teacher on the same frames."""

    name: ClassVar[str] = "distillation"
    share: ClassVar[float] = 0.5

    def applies(self, bench: Workbench) -> str:
        """Returns that there is no teacher, or that an ONNX file does not learn."""
        if not bench.has_modules:
            return NEEDS_TORCH
        if bench.teacher is None:
            return "there is no teacher: none was given, and no network that comes with jetseg has these classes"
        return ""

    def run(self, bench: Workbench) -> Finding:
        """Scores the teacher."""
        from jetseg.advice.repair import hours_of_training

        if bench.teacher is None:
            return Finding(self.name)
        own, other = bench.miou(Plan()), bench.miou_of(bench.teacher)
        distance, learned = other - own, bench.miou_of(bench.model(Plan()), bench.config.split)
        note = (
            f"{bench.teacher.name} has {other:.1f} % mIoU on these frames, the network {own:.1f} % ({learned:.1f} % on "
            f"frames of {bench.config.split})"
        )
        if distance <= 0:
            return Finding(
                self.name, notes=(note,), impossible=f"{bench.teacher.name} is not better: it has no more to say"
            )
        gain = DISTILLATION_SHARE.value * min(distance, DISTILLATION_DISTANCE)
        hours = hours_of_training(bench, bench.module)
        option = Option(Plan(distilled=True), 1.0, -gain, hours, "measured", "prior", DISTILLATION_SHARE.source)
        return Finding(self.name, (option,), (note,))
