"""Coarser logits: what the last upsampling costs, and what it is worth."""

from __future__ import annotations

from typing import ClassVar

from jetseg.advice.finding import Finding, Option
from jetseg.advice.plan import Plan
from jetseg.advice.workbench import Workbench
from jetseg.onnx.file import load_onnx
from jetseg.onnx.upsampling import last_upsampling


class OutputStride:
    """Leaves the last upsampling out and scores the network: class maps are then resized by nearest neighbor."""

    name: ClassVar[str] = "output stride"
    share: ClassVar[float] = 0.5

    def applies(self, bench: Workbench) -> str:
        """Returns that an ONNX file is not exported anew."""
        return "" if bench.has_modules else "the upsampling is written into the ONNX file: export it without"

    def run(self, bench: Workbench) -> Finding:
        """Tries it once."""
        stride = last_upsampling(load_onnx(bench.model(Plan()).path))
        if stride == 1:
            return Finding(self.name, impossible="the network's last operator is no upsampling")
        plan = Plan(stride=stride)
        source = f"{bench.stopwatch.source}; the loss is that without training, with class maps resized to the labels"
        speed, drop = bench.speedup(plan), bench.drop(plan)
        return Finding(self.name, (Option(plan, speed, drop, 0.0, bench.stopwatch.basis, "measured", source),))
