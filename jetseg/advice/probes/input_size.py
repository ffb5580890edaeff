"""A smaller input: often the cheapest gain, since nothing need be trained."""

from __future__ import annotations

from math import gcd
from typing import ClassVar

from jetseg.advice.finding import Finding, Option
from jetseg.advice.plan import Plan
from jetseg.advice.workbench import Workbench
from jetseg.errors import JetsegError

_FACTORS = (0.75, 0.5, 0.875)
"""Tried in this order."""
_STRIDE = 32


class InputSize:
    """Exports the network at smaller sizes and scores it, without training, against labels of full size."""

    name: ClassVar[str] = "input size"
    share: ClassVar[float] = 1.5

    def applies(self, bench: Workbench) -> str:
        """Returns that the size is written into an ONNX file."""
        if bench.has_modules:
            return ""
        return (
            "its input size is written into the ONNX file: export the network anew at another size, from its checkpoint"
        )

    def run(self, bench: Workbench) -> Finding:
        """Tries a few sizes."""
        options: list[Option] = []
        notes: list[str] = []
        spec = bench.manifest.input
        for factor in _FACTORS:
            if options and bench.clock.left() <= 0:
                notes.append("no time was left for further sizes")
                break
            plan = Plan(size=(_rounded(spec.height, factor), _rounded(spec.width, factor)))
            if plan.size == (spec.height, spec.width):
                continue
            try:
                drop, speed = bench.drop(plan), bench.speedup(plan)
            except JetsegError as error:
                notes.append(f"{plan} does not work: {error}")
                continue
            source = f"{bench.stopwatch.source}; the loss is that without training"
            options.append(Option(plan, speed, drop, 0.0, bench.stopwatch.basis, "measured", source))
        options.sort(key=lambda option: option.speedup or 0.0)
        return Finding(self.name, tuple(options), tuple(notes), "" if options else "no smaller size works")


def _rounded(pixels: int, factor: float) -> int:
    """Returns a smaller size with the divisors that the strides of a network count on.

    >>> _rounded(360, 0.75), _rounded(180, 0.5), _rounded(1024, 0.5)
    (272, 88, 512)
    """
    step = gcd(pixels, _STRIDE)
    return max(step, round(factor * pixels / step) * step)
