"""Low rank: how much of the kernels' energy few factors hold, and whether they are faster."""

from __future__ import annotations

from typing import ClassVar

from jetseg.advice.finding import Finding, Option
from jetseg.advice.plan import Plan
from jetseg.advice.probe import NEEDS_TORCH
from jetseg.advice.workbench import Workbench

_ENERGY = 0.9
_FASTER = 1.05


class LowRank:
    """Splits the convolutions whose factors are faster when timed alone, and scores the result."""

    name: ClassVar[str] = "low rank"
    share: ClassVar[float] = 1.5

    def applies(self, bench: Workbench) -> str:
        """Returns that convolutions of an ONNX file are not split."""
        return "" if bench.has_modules else NEEDS_TORCH

    def run(self, bench: Workbench) -> Finding:
        """Factorizes once."""
        from jetseg.advice.repair import hours_of_training

        plan = Plan(energy=_ENERGY)
        speed = bench.speedup(plan)
        if speed < _FASTER:
            return Finding(
                self.name,
                impossible=f"factors that hold {100 * _ENERGY:.0f} % of the energy make the network only {speed:.2f} "
                "times as fast",
            )
        hours = hours_of_training(bench, bench.module)
        source = f"{bench.stopwatch.source}; the loss is that without training, which the recipe's repairs"
        drop = max(0.0, bench.drop(plan))
        return Finding(self.name, (Option(plan, speed, drop, hours, bench.stopwatch.basis, "predicted", source),))
