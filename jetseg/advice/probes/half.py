"""FP16 and BF16: whether the device has them, what rounding costs, and what they gain."""

from __future__ import annotations

from typing import ClassVar

from jetseg.advice.finding import Finding, Option
from jetseg.advice.plan import Plan
from jetseg.advice.workbench import Workbench, defined
from jetseg.engine.backend import find_backend
from jetseg.engine.simulation import simulate_bfloat16
from jetseg.errors import ConfigError, DeviceError
from jetseg.evaluation.accuracy import measure_accuracy, spread
from jetseg.quantization.observe.observer import observe
from jetseg.quantization.qdq.placement import observed_tensors

_LARGEST = 65504.0
"""Largest number of float16."""
_FRAMES = 4


class Half:
    """Rounds to bfloat16, which is the coarser of the two, and looks for activations that overflow float16."""

    name: ClassVar[str] = "fp16"
    share: ClassVar[float] = 0.5

    def applies(self, bench: Workbench) -> str:
        """Returns why the backend at hand has no float16; of another computer it is taken to have it."""
        if bench.config.target is not None:
            return ""
        backend = find_backend(bench.config.backend)
        try:
            backend.check("fp16", backend.options())
        except (ConfigError, DeviceError) as error:
            return error.found.rstrip(".")
        return ""

    def run(self, bench: Workbench) -> Finding:
        """Scores the rounded network."""
        network = bench.model(Plan())
        split = bench.dataset.split(bench.config.eval_split)
        with simulate_bfloat16(network, threads=bench.config.threads) as rounded:
            score = measure_accuracy(rounded.segment, rounded.manifest, split, frames=bench.config.frames)
        drop = bench.miou(Plan()) - defined(score)
        graph = network.float_graph()
        frames = [split[index].image_hwc_u8 for index in spread(len(split), _FRAMES)]
        seen = observe(graph, observed_tensors(graph), network.manifest, network.image_input, frames, threads=1)
        largest = max(max(-histogram.low, histogram.high) for histogram in seen.histograms.values())
        if largest > _LARGEST:
            return Finding(self.name, impossible=f"an activation reaches {largest:.3g}, and float16 ends at 65,504")
        note = (
            f"largest activation {largest:.3g}, of 65,504 that float16 holds; in bfloat16 {drop:+.2f} points are lost"
        )
        if bench.config.target is not None:
            return Finding(self.name, notes=(note,), impossible="it is what all speeds are compared with there")
        plan = Plan(precision="fp16")
        source = f"{bench.stopwatch.source}; the loss is that of bfloat16, which is coarser"
        option = Option(plan, bench.speedup(plan), max(0.0, drop), 0.0, bench.stopwatch.basis, "predicted", source)
        return Finding(self.name, (option,), (note,))
