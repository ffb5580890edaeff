"""Removes channels from a network, and proves by value that nothing else changed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from jetseg.compress.channels.notes import tensors_in
from jetseg.compress.channels.tracing import ChannelTrace, StatedCall
from jetseg.compress.channels.variables import Ids
from jetseg.compress.groups import PruningGroup
from jetseg.models.copying import copied
from jetseg.models.shapes import fit_shapes_
from jetseg.models.stated_sizes import Mode, learning_sizes, state_sizes_
from jetseg.models.training_heads import training_heads

TOLERANCE = {torch.float64: 1e-7, torch.float32: 1e-5}
"""How far a pruned network may be from the dense one with zeros in place of what was removed, by the output's range."""
MOST_SECONDS = 90.0
"""Processor time for the search for groups that go wrong; those not yet tried then are kept."""

Removed = Mapping[int, Sequence[int]]
"""Units that go, by the number of their group."""


@dataclass(frozen=True)
class Remover:
    """A network of which channels are removed.

    Attributes:
        module: The dense network, in eval mode.
        trace: What a run of it told about its channels.
        groups: Groups of channels that may be removed.
        images: float32, N x C x H x W each: what the pruned network is compared on.
    """

    module: nn.Module
    trace: ChannelTrace
    groups: Sequence[PruningGroup]
    images: Sequence[Tensor]

    def remove(self, removed: Removed) -> tuple[nn.Module, dict[int, str]]:
        """Removes what can be removed without changing anything else.

        The pruned network must compute what the dense one computes with zeros in place of the removed weights; where
        it does not, the groups that are to blame are found by halving, and kept.

        Returns:
            The pruned network in eval mode, and why groups were kept, by their number.
        """
        end = time.process_time() + MOST_SECONDS
        accepted: dict[int, Sequence[int]] = {}
        rejected: dict[int, str] = {}
        pending = [[number for number, units in removed.items() if len(units)]]
        best = copied(self.module)
        while pending:
            numbers = pending.pop()
            if not numbers:
                continue
            trial = accepted | {number: removed[number] for number in numbers}
            if time.process_time() > end:
                rejected |= dict.fromkeys(numbers, f"kept: not checked in {MOST_SECONDS:.0f} processor seconds")
                continue
            pruned, fault = self._try(trial)
            if pruned is not None:
                accepted, best = trial, pruned
            elif len(numbers) == 1:
                rejected[numbers[0]] = fault
            else:
                middle = len(numbers) // 2
                pending += [numbers[middle:], numbers[:middle]]
        return best, rejected

    def _try(self, removed: Removed) -> tuple[nn.Module | None, str]:
        """Returns the pruned network, or why it is not right."""
        gone = self._gone(removed)
        try:
            pruned = self._without(gone)
            distance = max(self._distances(pruned, gone), default=0.0)
        except Exception as error:  # whatever a foreign network raises when its channels differ
            return None, f"kept: its code does not run with fewer channels ({type(error).__name__})"
        if distance <= 1:
            return pruned, ""
        return None, "kept: without these channels, others would change"

    def _gone(self, removed: Removed) -> Ids:
        """Returns the classes of variables that go."""
        found = []
        for number, units in removed.items():
            part = self.groups[number].slices[0]
            found.append(
                self.trace.channels.roots(self.trace.weights[part.name][part.axis])[
                    part.indices[list(units), 0].numpy()
                ]
            )
        return np.concatenate(found) if found else np.zeros(0, dtype=np.int64)

    def _without(self, gone: Ids) -> nn.Module:
        state = {}
        for name, tensor in self.module.state_dict().items():
            for axis, ids in enumerate(self.trace.weights[name]):
                stays = self._stays(ids, gone)
                if not stays.all():
                    tensor = tensor.index_select(axis, torch.from_numpy(np.flatnonzero(stays)))  # noqa: PLW2901
            state[name] = tensor
        pruned = copied(self.module)
        fit_shapes_(pruned, state)
        pruned.load_state_dict(state)
        with learning_sizes(pruned, self._wanted(gone)) as sizes, torch.no_grad():
            pruned.eval()(self.images[0])
            with training_heads(pruned):
                pruned(self.images[0])
        state_sizes_(pruned, sizes)
        return pruned

    def _stays(self, ids: Ids, gone: Ids) -> np.ndarray:
        return ~np.isin(self.trace.channels.roots(ids), gone)

    def _wanted(self, gone: Ids) -> dict[str, dict[Mode, dict[int, list[int | None]]]]:
        """Returns the sizes that the code must state, by module, mode and call."""
        wanted: dict[str, dict[Mode, dict[int, list[int | None]]]] = {}
        for call in self.trace.calls:
            numbers = wanted_numbers(call, lambda ids: int(self._stays(ids, gone).sum()))
            if any(number is not None for number in numbers):
                wanted.setdefault(call.module, {}).setdefault(call.mode, {})[call.number] = numbers
        return wanted

    @cached_property
    def _dtype(self) -> torch.dtype:
        """What outputs are compared in: float64, where the network's code does not make constants in float32."""
        try:
            _outputs(copied(self.module).double(), self.images[0].double(), training=False)
        except Exception:  # whatever a foreign network raises
            return torch.float32
        return torch.float64

    def _distances(self, pruned: nn.Module, gone: Ids) -> Iterator[float]:
        """Yields how far the outputs are from those of the masked dense network, in units of the tolerance."""
        masked, exact = copied(self.module), copied(pruned)
        with torch.no_grad():
            for name, tensor in masked.state_dict(keep_vars=True).items():
                if name.endswith(_DIRECTIONS):  # of no length; their size is masked
                    continue
                for axis, ids in enumerate(self.trace.weights[name]):
                    shape = [-1 if k == axis else 1 for k in range(tensor.ndim)]
                    tensor.mul_(torch.from_numpy(self._stays(ids, gone)).reshape(shape).to(tensor.dtype))
        dtype = self._dtype
        masked, exact = masked.to(dtype), exact.to(dtype)
        for image in self.images:
            for training in (False, True):
                yield (
                    _distance(_outputs(masked, image.to(dtype), training), _outputs(exact, image.to(dtype), training))
                    / TOLERANCE[dtype]
                )


def wanted_numbers(call: StatedCall, count: Callable[[Ids], int]) -> list[int | None]:
    """Returns the numbers that a call must state once channels are gone; None where any holds.

    Args:
        call: The call in the dense network.
        count: Tells how many of the channels stay.
    """
    stated = call.statement
    numbers: list[int | None] = [None] * len(stated.numbers)
    for k, axis in enumerate(stated.axes):
        labels = call.results[k if stated.kind == "parts" else 0] if stated.kind in _OF_RESULTS else call.source
        ids = labels[axis]
        if ids is None:
            continue
        if stated.kind in ("shape", "parts"):
            numbers[k] = count(ids)
        elif stated.kind == "shifts":
            numbers[k] = count(ids[len(ids) - stated.numbers[k] % len(ids) :])
        else:
            first, second = stated.numbers[2 * k : 2 * k + 2]
            behind = ids[:second] if stated.kind == "bounds" else ids[len(ids) - second :]
            numbers[2 * k : 2 * k + 2] = count(ids[:first]), count(behind)
    return numbers


_DIRECTIONS = ("weight_v", "parametrizations.weight.original1")
_OF_RESULTS = ("shape", "parts", "padding")


def _outputs(module: nn.Module, image: Tensor, training: bool) -> list[Tensor]:
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # what is dropped by chance is the same
        if not training:
            return tensors_in([module.eval()(image)])
        with training_heads(module):
            return tensors_in([module(image)])


def _distance(expected: Sequence[Tensor], actual: Sequence[Tensor]) -> float:
    """Returns the largest difference, by the range of the output that has it."""
    if [tensor.shape for tensor in expected] != [tensor.shape for tensor in actual]:
        return float("inf")
    distances = []
    for dense, pruned in zip(expected, actual, strict=True):
        span = float(dense.max() - dense.min()) or float(dense.abs().max()) or 1.0
        difference = float((dense - pruned).abs().max()) / span
        distances.append(float("inf") if math.isnan(difference) else difference)
    return max(distances, default=float("inf"))
