"""Which channels can only be pruned together, which may not be pruned at all, and what each takes from the weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import gcd, lcm

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from jetseg.compress.channels.tracing import ChannelTrace
from jetseg.compress.channels.variables import Ids
from jetseg.compress.layers import LAYERS, match_layers
from jetseg.compress.torch_pruning_group import TorchPruningGroup


@dataclass(frozen=True)
class Slices:
    """The part of one tensor that belongs to the units of a group.

    Attributes:
        name: Name of the parameter or buffer in the network.
        layer: The module that holds it, in the network that is scored.
        axis: Axis of the tensor.
        indices: int64, units x slices per unit: what each unit removes along that axis.
        reads: Whether these are input channels of a convolution or linear layer.
    """

    name: str
    layer: nn.Module
    axis: int
    indices: Tensor
    reads: bool

    @property
    def tensor(self) -> Tensor:
        """The whole parameter or buffer."""
        value: Tensor = getattr(self.layer, self.name.rpartition(".")[2])
        return value

    def per_unit(self, values: Tensor) -> Tensor:
        """Adds up values per slice of the axis, ... x slices, to values per unit, ... x units."""
        return values[..., self.indices].sum(-1)


@dataclass(frozen=True)
class PruningGroup(TorchPruningGroup):
    """Units that are wired alike, each of which can be removed: a channel, or all channels of an attention head.

    Attributes:
        root: Name of the layer whose output channels are counted.
        layers: All layers that lose output channels with it, by name: how many for each unit.
        readers: The same for layers that lose input channels.
        slices: What the units remove from each parameter and buffer.
        kind: The same for groups that are wired alike: types and kernels of all that is coupled.
        scores: Importance per unit, 1-D; empty before scoring.
    """

    root: str
    layers: Mapping[str, int]
    readers: Mapping[str, int]
    slices: tuple[Slices, ...]
    kind: tuple[str, ...] = ()
    scores: Tensor = field(default_factory=lambda: torch.empty(0))

    @property
    def size(self) -> int:
        """Number of units."""
        return len(self.slices[0].indices) if self.slices else len(self.scores)

    def outputs(self) -> Iterator[tuple[str, Slices]]:
        """Yields each layer that loses output channels, with the slices of its weight that count them."""
        weights = {key: layer for layer in self.layers for key in weight_names(layer)}
        for part in self.slices:
            if part.name in weights and part.axis == (1 if isinstance(part.layer, _ConvTransposeNd) else 0):
                yield weights[part.name], part

    def step(self, round_to: int) -> int:
        """Returns how many units make a multiple of `round_to` channels in each layer."""
        return lcm(*(round_to // gcd(round_to, width) for width in self.layers.values()))


Importance = Callable[[PruningGroup], Tensor | None]
"""Given a group of coupled channels, returns one score per unit of it, or None where it cannot tell."""


def find_groups(
    module: nn.Module, trace: ChannelTrace, keep: Sequence[str]
) -> tuple[list[PruningGroup], dict[str, str]]:
    """Finds the groups of channels that may be removed.

    Args:
        module: The network that was traced, or a copy of it.
        trace: What its run told; the layers of `keep` are marked in it.
        keep: Patterns of layers to leave alone.

    Returns:
        The groups, not scored yet, and why each other layer is kept, by name.

    Raises:
        ConfigError: A pattern matches no layer.
    """
    layers = {name: layer for name, layer in module.named_modules() if isinstance(layer, LAYERS)}
    on_request = match_layers(list(layers), keep)
    outputs = {name: _output_channels(trace, name, layer) for name, layer in layers.items()}
    for name in on_request:
        trace.channels.keep(outputs[name], "kept: coupled with a layer that is kept")
    groups = [
        group for places in _alike_units(trace).values() if (group := _group(module, layers, trace, places)) is not None
    ]
    order = {name: number for number, name in enumerate(layers)}
    groups.sort(key=lambda group: order[group.root])
    notes = {
        name: trace.channels.reason(channels)
        for name, channels in outputs.items()
        if channels is not None and trace.channels.kept(channels).all()
    }
    return groups, notes | dict.fromkeys(on_request, "kept on request")


Place = tuple[str, int]
"""Name of a parameter or buffer, and one of its axes."""


def _alike_units(trace: ChannelTrace) -> dict[tuple[tuple[Place, int], ...], list[dict[Place, list[int]]]]:
    """Returns what each unit removes, gathered by where and how many slices."""
    units: dict[int, dict[Place, list[int]]] = {}
    seen: set[int] = set()
    for name, axes in trace.weights.items():
        for axis, ids in enumerate(axes):
            if len(ids) < 2 or int(ids[0]) in seen:  # names that share a tensor share its variables
                continue
            seen.add(int(ids[0]))
            roots, kept = trace.channels.roots(ids), trace.channels.kept(ids)
            for index in np.flatnonzero(~kept).tolist():
                units.setdefault(int(roots[index]), {}).setdefault((name, axis), []).append(index)
    alike: dict[tuple[tuple[Place, int], ...], list[dict[Place, list[int]]]] = {}
    for unit in units.values():
        alike.setdefault(tuple((place, len(indices)) for place, indices in unit.items()), []).append(unit)
    return alike


def _group(
    module: nn.Module, layers: Mapping[str, nn.Module], trace: ChannelTrace, units: Sequence[Mapping[Place, list[int]]]
) -> PruningGroup | None:
    """Describes units that are alike; None where no layer makes them."""
    holders = {key: name for name in layers for key in weight_names(name) if key in trace.weights}
    made: dict[str, int] = {}
    read: dict[str, int] = {}
    slices, kind = [], []
    for name, axis in units[0]:
        indices = torch.tensor([unit[name, axis] for unit in units])
        holder = module.get_submodule(name.rpartition(".")[0])
        layer = holders.get(name)
        reads = layer is not None and axis == _input_axis(layers[layer])
        if layer is not None and axis < 2:
            (read if reads else made)[layer] = indices.shape[1]
        slices.append(Slices(name, holder, axis, indices, reads))
        kernel = tuple(holder.kernel_size) if isinstance(holder, _ConvNd) else ()
        kind.append(f"{type(holder).__name__}{kernel}.{name.rpartition('.')[2]}.{axis}")
    if not made:
        return None
    return PruningGroup(next(name for name in layers if name in made), made, read, tuple(slices), tuple(sorted(kind)))


def _input_axis(layer: nn.Module) -> int | None:
    """Returns the axis of a layer's weight that counts its input channels alone; a depthwise one has none."""
    if isinstance(layer, _ConvNd) and layer.groups > 1:
        return None
    return 0 if isinstance(layer, _ConvTransposeNd) else 1


def mixing_layers(module: nn.Module) -> list[_ConvNd | nn.Linear]:
    """Returns the layers that mix channels; a depthwise convolution only passes them on."""
    return [
        layer
        for layer in module.modules()
        if isinstance(layer, nn.Linear) or (isinstance(layer, _ConvNd) and layer.groups == 1)
    ]


def sum_over_readers(group: PruningGroup, rows: Mapping[nn.Module, Tensor]) -> Tensor | None:
    """Adds up what is known about the units of a group, over all layers that read them.

    Args:
        group: The group.
        rows: Per reading layer, observations x its input channels.

    Returns:
        Observations x units; None if no layer reads them.
    """
    found = [part.per_unit(rows[part.layer]) for part in group.slices if part.reads and part.layer in rows]
    return torch.stack(found).sum(0) if found else None


def _output_channels(trace: ChannelTrace, name: str, layer: nn.Module) -> Ids | None:
    """Returns the output channels of a convolution or linear layer."""
    weight = next((key for key in weight_names(name) if key in trace.weights), None)
    if weight is None:
        return None
    if not isinstance(layer, _ConvTransposeNd):
        return trace.weights[weight][0]
    bias = trace.weights.get(f"{name}.bias")
    return trace.weights[weight][1] if layer.groups == 1 else None if bias is None else bias[0]


def weight_names(layer: str) -> tuple[str, ...]:
    """Returns the names that a layer's weight may have: plain, under both kinds of weight norm, or of attention."""
    return tuple(
        f"{layer}.{name}" for name in ("weight", "weight_v", "parametrizations.weight.original1", "in_proj_weight")
    )
