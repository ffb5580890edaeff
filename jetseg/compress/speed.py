"""Prunes until the device itself says that the wanted speed is reached."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from torch import nn

from jetseg.compress.latency import NetworkLatency, allocate
from jetseg.compress.layers import LayerChange
from jetseg.compress.structured import Pruner, PruneSettings, choose_counts
from jetseg.errors import ConfigError, QualityError
from jetseg.onnx.layer_shape import Piece

BAND = (0.95, 1.1)
"""How far below and above the wanted speed is good enough: 1.9 to 2.2 for 2.0."""

_AIM = 1.02
_MOST_TRIALS = 8
_LEAST_STEP = 1e-3

Pruned = tuple[nn.Module, tuple[LayerChange, ...]]


class SpeedMeter(Protocol):
    """Measures on the device that the network is for, or predicts what would be measured there."""

    @property
    def source(self) -> str:
        """Where the last latencies are from: "measured", or what they were predicted from and how surely."""
        ...

    def layers_ms(self, pieces: Sequence[Piece]) -> list[float]:
        """Returns the latency of pieces of a network, in milliseconds."""
        ...

    def networks_ms(self, networks: Sequence[nn.Module]) -> list[float]:
        """Runs whole networks in turn; returns the latency of each, in milliseconds."""
        ...


@dataclass(frozen=True)
class SpeedTrial:
    """One network that was pruned and measured.

    Attributes:
        amount: What was asked for: the fraction of the layers' latency in the table, or of the channels, to remove.
        predicted: Speed ratio by the table of layers alone; None where no table was used.
        measured: Speed ratio that was measured.
    """

    amount: float
    predicted: float | None
    measured: float


@dataclass(frozen=True)
class SpeedReport:
    """How the wanted speed was found.

    Attributes:
        parent_ms: Latency of the network before, alternated with the pruned one.
        pruned_ms: Latency of the pruned network.
        wanted: Speed ratio that was asked for.
        trials: All networks that were measured; the last one is the result.
        layers_ms: Latency before and after by the table, by layer; empty where no table was used.
        source: "measured"; or what all latencies were predicted from, and the interval of `pruned_ms`.
    """

    parent_ms: float
    pruned_ms: float
    wanted: float
    trials: tuple[SpeedTrial, ...]
    layers_ms: dict[str, tuple[float, float]]
    source: str = "measured"

    @property
    def speedup(self) -> float:
        """How many times as fast as before."""
        return self.parent_ms / self.pruned_ms


def prune_to_speed(
    pruner: Pruner, settings: PruneSettings, meter: SpeedMeter, speedup: float, *, by_latency: bool
) -> tuple[nn.Module, tuple[LayerChange, ...], SpeedReport]:
    """Prunes a network to a measured speed.

    Args:
        pruner: The network with its scored channels.
        settings: `round_to` and `max_ratio`; `scope` too unless `by_latency`. `ratio` is not used.
        meter: Measures on the device.
        speedup: How many times as fast the pruned network shall be.
        by_latency: Thin the layers that cost the least importance per millisecond; else, by `scope`.

    Raises:
        ConfigError: Even the least that may stay of each layer is too slow.
        QualityError: No number of channels was found whose speed is close enough.
    """
    full = [group.size for group in pruner.groups]
    latency = None
    if by_latency:
        latency = NetworkLatency(
            pruner.module,
            pruner.example_input,
            pruner.groups,
            meter.layers_ms,
            settings.round_to,
            network_ms=meter.networks_ms([pruner.module])[0],
        )

    def counts(amount: float) -> list[int]:
        if latency is None:
            return choose_counts(pruner.groups, replace(settings, ratio=amount))
        return allocate(pruner.groups, latency, settings, (1 - amount) * latency.total_ms(full))

    trials: list[SpeedTrial] = []
    measured: dict[tuple[int, ...], tuple[float, float]] = {}
    made: dict[tuple[int, ...], Pruned] = {}

    def try_amount(amount: float) -> float:
        kept = tuple(counts(amount))
        if kept not in measured:
            made.clear()
            made[kept] = pruner.prune(kept, settings.round_to)
            parent_ms, pruned_ms = meter.networks_ms([pruner.module, made[kept][0]])
            measured[kept] = (parent_ms, pruned_ms)
        predicted = latency.total_ms(full) / latency.total_ms(kept) if latency else None
        parent_ms, pruned_ms = measured[kept]
        trials.append(SpeedTrial(amount, predicted, parent_ms / pruned_ms))
        return trials[-1].measured

    start = 1 - 1 / speedup if by_latency else 0.5 * (1 - 1 / speedup)
    amount = search_amount(try_amount, speedup, start, settings.max_ratio if not by_latency else 0.999)
    kept = tuple(counts(amount))
    pruned, changes = made[kept]
    rows = latency.rows(full, kept) if latency else {}
    return pruned, changes, SpeedReport(*measured[kept], speedup, tuple(trials), rows, meter.source)


def search_amount(
    measure: Callable[[float], float], speedup: float, start: float, most: float, band: tuple[float, float] = BAND
) -> float:
    """Returns an amount to remove whose measured speed is close to the wanted one.

    The latency that is left, as a fraction of that before, is taken for linear between the amounts that were
    measured; the line through the first one is the correction of the table. The amount that is returned is the one
    measured last.

    Args:
        measure: Given an amount, returns the measured speed ratio.
        speedup: Speed ratio to reach.
        start: First amount to try, above 0.
        most: Largest amount that can be tried.
        band: Factors of `speedup` between which a measured speed is good enough.

    Raises:
        ConfigError: The largest amount is still too slow.
        QualityError: No amount was found.

    >>> round(search_amount(lambda amount: 1 / (1 - 0.8 * amount), speedup=2.0, start=0.5, most=0.9), 3)
    0.637
    """
    low, high = (0.0, 1.0), None  # amount and remaining latency: too slow, too fast
    amount = min(start, most)
    wanted = 1 / (_AIM * speedup)
    speeds = []
    for _ in range(_MOST_TRIALS):
        speed = measure(amount)
        speeds.append(f"{speed:.2f}")
        if band[0] * speedup <= speed <= band[1] * speedup:
            return amount
        if speed < speedup:
            if amount >= most:
                raise ConfigError(
                    f"The network cannot be made {speedup:g} times as fast: {speed:.2f} is all there is.",
                    "Keep fewer layers, allow a larger `max_ratio` or a smaller `round_to`, or ask for less.",
                )
            low = max(low, (amount, 1 / speed))
        else:
            high = min(high or (1.0, 0.0), (amount, 1 / speed))
        amount = _between(low, high, wanted, most)
    raise QualityError(
        f"No pruned network runs {speedup:g} times as fast; measured: {', '.join(speeds)}.",
        "Allow a finer `round_to`, or run again when the machine is idle.",
    )


def _between(low: tuple[float, float], high: tuple[float, float] | None, wanted: float, most: float) -> float:
    if high is None:
        slope = (1 - low[1]) / low[0]
        if slope <= 0:  # nothing was gained so far
            return min(most, 2 * low[0])
        return min(most, max((1 - wanted) / slope, low[0] + _LEAST_STEP))
    span = max(low[1] - high[1], 1e-9)
    share = min(0.9, max(0.1, (low[1] - wanted) / span))
    return low[0] + share * (high[0] - low[0])
