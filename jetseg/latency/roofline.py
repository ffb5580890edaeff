"""Predicts from what a device's maker publishes, where there is no table: rough, and says so.

An operator takes the time of a launch, of its multiply-accumulates at a share of the GPU's peak, and of its values at a
share of the memory's bandwidth (Williams et al., Roofline, 2009, without the overlap of the two). The shares are fitted
to latencies that others published for the same chip, all of classification networks in FP16 at batch 1;
docs/measurements/latency.md holds the predictions against published latencies of segmentation networks, which have no
part in the fit. `bench/jetson_figures.py` makes both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from jetseg.errors import ConfigError
from jetseg.latency.estimate import LatencyEstimate
from jetseg.latency.unit import Unit
from jetseg.manifest import Precision
from jetseg.targets import TARGETS, Target

COVERAGE = 90
_VALUE_BYTES: dict[Precision, int] = {"fp32": 4, "fp16": 2, "bf16": 2, "int8": 1, "fp8": 1}
_SPEEDS: dict[Precision, float] = {"fp32": 0.25, "fp16": 1.0, "bf16": 1.0, "int8": 2.0, "fp8": 2.0}
"""Peak over that of FP16, on tensor cores and without sparsity."""


@dataclass(frozen=True)
class Efficiency:
    """How much of what is published a chip's software gets.

    Attributes:
        compute: Share of the peak.
        memory: Share of the bandwidth.
        launch_ms: What each kernel takes besides.
        factor: Half the width of the interval, as a factor: the worst prediction of a fitted figure by the shares of
            the other chip. A fit without the figure itself is too sure: all of a chip's figures are of few kinds of
            networks.
        source: Where the figures stand.
    """

    compute: float
    memory: float
    launch_ms: float
    factor: float
    source: str


EFFICIENCIES = {
    "8.7": Efficiency(
        compute=1.0,
        memory=0.558,
        launch_ms=0.00523,
        factor=2.52,
        source="EfficientViT-B1, B2 and B3 at 224, 256 and 288 pixels on AGX Orin: mit-han-lab/efficientvit, "
        "applications/efficientvit_cls/README.md",
    ),
    "7.2": Efficiency(
        compute=0.698,
        memory=1.0,
        launch_ms=0.0199,
        factor=2.52,
        source="ResNet-18, 34 and 50, MobileNetV2 and V3 and RegNetY-200 and 800 MF at 224 pixels on Xavier NX: "
        "Deci-AI/super-gradients, documentation/source/model_zoo.md",
    ),
}
"""By compute capability, which tells the chip: 8.7 all Orins, 7.2 all Xaviers."""
_NEXT_CHIP = "8.7"
"""Stands in for a chip of which nothing was published."""


class Roofline:
    """A `jetseg.latency.estimate.LatencyModel` of a target's peaks and bandwidth.

    Args:
        target: The device.
        precision: Precision of the engine.
        efficiency: In place of that of the target's chip.

    Raises:
        ConfigError: The target has no published peaks, or the precision is not of such an engine.
    """

    backend = "tensorrt"

    def __init__(self, target: Target, precision: Precision, efficiency: Efficiency | None = None) -> None:
        peak, bandwidth = target.fp16_tflops, target.bandwidth_gb_per_s
        if peak is None or bandwidth is None or precision not in _SPEEDS:
            known = ", ".join(name for name, found in TARGETS.items() if found.fp16_tflops and found.bandwidth_gb_per_s)
            raise ConfigError(
                f"Nothing is published from which the latency of {target.name} in {precision} follows.",
                f"Measure a table there with `jetseg measure-layers`; peaks are known of {known}.",
            )
        self.precision = precision
        self._target = target
        own = EFFICIENCIES.get(target.compute_capability or "")
        self._efficiency = efficiency or own or EFFICIENCIES[_NEXT_CHIP]
        self._doubts = [] if efficiency or own else ["the efficiencies are those of another chip, Orin"]
        if precision not in ("fp16", "bf16"):
            self._doubts.append(f"no published {precision} figure was fitted")
        self._macs_per_ms = peak * _SPEEDS[precision] * 1e9 / 2 * self._efficiency.compute
        self._bytes_per_ms = bandwidth * 1e6 * self._efficiency.memory

    def network(self, units: Sequence[Unit]) -> LatencyEstimate:
        """Predicts a whole network from its operators."""
        ms = sum(self.units_ms(units))
        factor = self._efficiency.factor ** (1 + len(self._doubts))
        mode = f", {self._target.power_mode}" if self._target.power_mode else ""
        note = "Rough: from published peaks, fitted to published latencies of classification networks"
        return LatencyEstimate(
            latency_ms=ms,
            low=ms / factor,
            high=ms * factor,
            coverage=COVERAGE,
            source="roofline",
            device=f"{self._target.title}{mode}, tensorrt, {self.precision}",
            note=f"{'; '.join([note, *self._doubts])}. A table of `jetseg measure-layers` is better.",
        )

    def units_ms(self, units: Sequence[Unit]) -> list[float]:
        """Predicts operators, each for itself, in milliseconds."""
        found = []
        for unit in units:
            _, macs, size = work(unit, self.precision)
            found.append(self._efficiency.launch_ms + macs / self._macs_per_ms + size / self._bytes_per_ms)
        return found


def work(unit: Unit, precision: Precision) -> tuple[int, int, int]:
    """Returns launches, multiply-accumulates on tensor cores, and bytes that are moved.

    A depthwise convolution runs beside the tensor cores, and waits for memory only.
    """
    depthwise = unit.groups > 1 and len(unit.weights) > 1 and unit.weights[1] == 1
    return 1, 0 if depthwise else unit.macs, _VALUE_BYTES[precision] * (unit.read + unit.written + prod(unit.weights))


def compare(found: float, wanted: float) -> float:
    """Returns how many times too large or too small a latency is, at least 1.

    >>> compare(2.0, 4.0)
    2.0
    """
    return math.exp(abs(math.log(found / wanted)))
