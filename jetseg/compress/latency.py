"""Latency-aware allocation: which layers to thin, so that the network gets faster at least loss of importance.

The idea is that of HALP (Shen et al., arXiv:2110.10811): channels have a value, their importance, and a price, the
latency that they cost on the device, read from a table of measured layers; a knapsack of the wanted latency is filled
with the most valuable. Here it is emptied step by step, because the price of a channel depends on how many channels
are left in the layers before and behind it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

import torch
from torch import Tensor, nn

from jetseg.compress.groups import PruningGroup
from jetseg.compress.layers import layer_shapes
from jetseg.compress.structured import PruneSettings, kept_channels
from jetseg.onnx.layer_shape import LayerLatency, LayerShape, TimeLayers

_MEASURED_AT = (0.125, 0.5, 1.0)
"""Fractions of a layer's channels whose latency is measured; the others are interpolated."""


class NetworkLatency:
    """Predicts what a network costs once its groups have fewer channels.

    What additions, resizings and other operators between the layers cost is not in the table. It is the difference
    between the network's latency and its layers', and is charged to the layers by the size of their outputs.

    Args:
        module: The network, in eval mode.
        example_input: float32, N x C x H x W.
        groups: Groups of layers that may be pruned.
        time_layers: Measures layers on the device.
        round_to: Pruned layers keep a multiple of this many channels.
        network_ms: Latency of the whole network, measured.
    """

    def __init__(
        self,
        module: nn.Module,
        example_input: Tensor,
        groups: Sequence[PruningGroup],
        time_layers: TimeLayers,
        round_to: int,
        network_ms: float,
    ) -> None:
        self._rest_ms_per_value = 0.0
        self.shapes = layer_shapes(module, example_input)
        self._sizes = [group.size for group in groups]
        self._made = _by_layer([group.layers for group in groups])
        self._read = _by_layer([group.readers for group in groups])
        self._touched = [sorted({*group.layers, *group.readers} & self.shapes.keys()) for group in groups]
        self._latencies = self._measure(time_layers, round_to)
        self._known_ms: dict[tuple[str, float, float], float] = {}
        self._values = {name: sum(prod(shape.output_size) for shape in runs) for name, runs in self.shapes.items()}
        rest_ms = max(0.0, network_ms - self.total_ms(self._sizes))
        self._rest_ms_per_value = rest_ms / sum(
            self._counts(name, self._sizes)[1] * values for name, values in self._values.items()
        )

    def total_ms(self, kept: Sequence[int]) -> float:
        """Returns the latency of the network when each group keeps so many channels."""
        return sum(self.layer_ms(name, kept) for name in self.shapes)

    def touched_ms(self, group: int, kept: Sequence[int]) -> float:
        """Returns the latency of the layers that a group's channel count changes."""
        return sum(self.layer_ms(name, kept) for name in self._touched[group])

    def neighbors(self, group: int) -> list[int]:
        """Returns the groups whose layers it shares, and so whose price it changes; the group itself included."""
        own = set(self._touched[group])
        return [other for other, names in enumerate(self._touched) if own & set(names)]

    def layer_ms(self, name: str, kept: Sequence[int]) -> float:
        """Returns the latency of one layer, all its runs added up, with its share of what runs between the layers."""
        into, out = self._counts(name, kept)
        layer_ms = self._known_ms.get((name, into, out))
        if layer_ms is None:  # allocation asks for the same counts thousands of times
            layer_ms = self._known_ms[name, into, out] = sum(latency(into, out) for latency in self._latencies[name])
        return layer_ms + self._rest_ms_per_value * out * self._values[name]

    def rows(self, before: Sequence[int], after: Sequence[int]) -> dict[str, tuple[float, float]]:
        """Returns milliseconds before and after pruning, by layer."""
        return {name: (self.layer_ms(name, before), self.layer_ms(name, after)) for name in self.shapes}

    def _counts(self, name: str, kept: Sequence[int]) -> tuple[float, float]:
        shape = self.shapes[name][0]
        return (
            shape.in_channels - self._removed(self._read.get(name, ()), kept),
            shape.out_channels - self._removed(self._made.get(name, ()), kept),
        )

    def _removed(self, shares: Sequence[tuple[int, float]], kept: Sequence[int]) -> float:
        return sum((self._sizes[group] - kept[group]) * share for group, share in shares)

    def _measure(self, time_layers: TimeLayers, round_to: int) -> dict[str, list[LayerLatency]]:
        grids = {
            (name, run): self._grid(name, shape, round_to)
            for name, runs in self.shapes.items()
            for run, shape in enumerate(runs)
        }
        wanted = list(dict.fromkeys(point for _, _, points in grids.values() for row in points for point in row))
        known = dict(zip(wanted, time_layers([(shape,) for shape in wanted]), strict=True))
        latencies: dict[str, list[LayerLatency]] = {}
        for (name, _), (rows, columns, points) in grids.items():
            grid = LayerLatency(rows, columns, [[known[point] for point in row] for row in points])
            latencies.setdefault(name, []).append(grid)
        return latencies

    def _grid(self, name: str, shape: LayerShape, round_to: int) -> tuple[list[int], list[int], list[list[LayerShape]]]:
        """Returns the counts of input and output channels to measure a layer at, and its shapes there."""
        prunable_inputs = name in self._read and not shape.depthwise and shape.groups == 1
        rows = _counts_to_measure(shape.in_channels, round_to) if prunable_inputs else [shape.in_channels]
        columns = _counts_to_measure(shape.out_channels, round_to) if name in self._made else [shape.out_channels]
        return rows, columns, [[shape.with_channels(row, column) for column in columns] for row in rows]


def allocate(
    groups: Sequence[PruningGroup], latency: NetworkLatency, settings: PruneSettings, target_ms: float
) -> list[int]:
    """Returns how many channels each group keeps, so that the layers take at most `target_ms`.

    While they take longer, the group is thinned that loses the least importance for each millisecond gained, by one
    or several steps of `round_to`; in the end, what can be given back within the target is given back.

    Args:
        groups: Groups of layers that may be pruned; their scores compare with each other.
        latency: Predicts the latency of the layers.
        settings: `round_to`, `max_ratio` and `evenness` hold for every group.
        target_ms: Summed latency of the layers to reach; if it cannot be, everything is thinned to its minimum.
    """
    knapsack = _Knapsack(groups, latency, settings)
    knapsack.empty_to(target_ms)
    knapsack.refill_to(target_ms)
    return knapsack.kept


class _Knapsack:
    """Channel counts of all groups, with what they cost and what thinning them would lose."""

    def __init__(self, groups: Sequence[PruningGroup], latency: NetworkLatency, settings: PruneSettings) -> None:
        self.kept = [group.size for group in groups]
        self._latency = latency
        self._total_ms = latency.total_ms(self.kept)
        self._choices = [_choices(group.size, settings.for_group(group)) for group in groups]
        self._losses = [_losses(group.scores, settings.evenness) for group in groups]

    def empty_to(self, target_ms: float) -> None:
        """Thins groups, the cheapest loss per millisecond first, until the layers take at most so long."""
        offers = [self._offer(group) for group in range(len(self.kept))]
        while self._total_ms > target_ms:
            standing = [(offer, group) for group, offer in enumerate(offers) if offer is not None]
            if not standing:
                return
            (_, count), group = min(standing)
            self._set(group, count)
            for neighbor in self._latency.neighbors(group):
                offers[neighbor] = self._offer(neighbor)

    def refill_to(self, target_ms: float) -> None:
        """Restores the most important channels that still fit; the last step may have gone too far."""
        while True:
            fitting = [
                (self._loss(group, count), group, count)
                for group, choices in enumerate(self._choices)
                for count in choices
                if count > self.kept[group] and self._total_ms - self._gain_ms(group, count) <= target_ms
            ]
            if not fitting:
                return
            _, group, count = min(fitting)  # restoring loses less than nothing
            self._set(group, count)

    def _offer(self, group: int) -> tuple[float, int] | None:
        """Returns the least loss per millisecond that thinning a group offers, and the count that has it."""
        offers = []
        before = self._latency.touched_ms(group, self.kept)
        for count in self._choices[group]:
            gained = before - self._touched_ms(group, count) if count < self.kept[group] else 0.0
            if gained > 0:
                offers.append((self._loss(group, count) / gained, count))
        return min(offers, default=None)

    def _loss(self, group: int, count: int) -> float:
        return self._losses[group][count] - self._losses[group][self.kept[group]]

    def _gain_ms(self, group: int, count: int) -> float:
        return self._latency.touched_ms(group, self.kept) - self._touched_ms(group, count)

    def _touched_ms(self, group: int, count: int) -> float:
        return self._latency.touched_ms(group, [*self.kept[:group], count, *self.kept[group + 1 :]])

    def _set(self, group: int, count: int) -> None:
        self._total_ms -= self._gain_ms(group, count)
        self.kept[group] = count


def _by_layer(shares: Sequence[Mapping[str, float]]) -> dict[str, list[tuple[int, float]]]:
    """Turns shares of layers, by group, into groups and shares, by layer."""
    found: dict[str, list[tuple[int, float]]] = {}
    for group, layers in enumerate(shares):
        for name, share in layers.items():
            found.setdefault(name, []).append((group, share))
    return found


def _losses(scores: Tensor, evenness: float) -> list[float]:
    """Returns the loss of importance by the number of channels that are kept, the least important removed first.

    Each channel counts the more the fewer are left beside it: by (channels / channels left) to the power of `evenness`.
    Plain sums are nearly linear where scores are alike, and the cheapest way to a latency is then to empty some layers
    and to leave others whole.
    """
    ranked = scores.double().sort().values
    left = torch.arange(len(ranked), 0, -1)
    removed: list[float] = (ranked * (len(ranked) / left) ** evenness).cumsum(0).tolist()
    return [0.0, *removed][::-1]


def _choices(channels: int, settings: PruneSettings) -> list[int]:
    """Returns the channel counts that a group may have, all of its channels included."""
    least = kept_channels(channels, channels, settings)
    return sorted({*range(least, channels, settings.round_to), channels})


def _counts_to_measure(channels: int, round_to: int) -> list[int]:
    rounded = {max(1, round(fraction * channels / round_to)) * round_to for fraction in _MEASURED_AT}
    return sorted({count for count in rounded if count < channels} | {channels})
