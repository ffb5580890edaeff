"""2:4 sparsity: whether the device has sparse tensor cores, and what half of the weights are worth."""

from __future__ import annotations

from typing import ClassVar

from jetseg.advice.finding import Finding, Option
from jetseg.advice.plan import Plan
from jetseg.advice.priors import TWO_FOUR_DROP_TRAINED, TWO_FOUR_SPEEDUP
from jetseg.advice.probe import NEEDS_TORCH
from jetseg.advice.workbench import Workbench
from jetseg.targets import find_target

_FIRST = 8.0
"""First compute capability with sparse tensor cores: Ampere."""


class TwoFour:
    """Sets two of every four weights to zero and scores the result."""

    name: ClassVar[str] = "2:4"
    share: ClassVar[float] = 0.5

    def applies(self, bench: Workbench) -> str:
        """Returns that the device cannot skip zeros, or that weights of an ONNX file are not trained."""
        if not bench.has_modules:
            return NEEDS_TORCH
        target = None if bench.config.target is None else find_target(bench.config.target)
        if target is None and bench.config.backend == "onnxruntime":
            return "a processor skips no zeros, so it gains nothing"
        if target is not None and float(target.compute_capability or 0) < _FIRST:
            return f"{target.title} has no sparse tensor cores"
        return ""

    def run(self, bench: Workbench) -> Finding:
        """Scores once, without training; the gain is a published one, since sparse kernels are the backend's choice."""
        from jetseg.advice.repair import hours_of_training

        plan = Plan(two_four=True)
        note = f"without training it loses {bench.drop(plan):.1f} points"
        hours = hours_of_training(bench, bench.module)
        source = f"{TWO_FOUR_SPEEDUP.source}; the loss after training: {TWO_FOUR_DROP_TRAINED.source}"
        option = Option(plan, TWO_FOUR_SPEEDUP.value, TWO_FOUR_DROP_TRAINED.value, hours, "prior", "prior", source)
        return Finding(self.name, (option,), (note,))
