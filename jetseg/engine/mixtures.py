"""Which layers to keep in float for accuracy: mixtures from the fastest to the quietest, each the best for its time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jetseg.engine.backend import StepTime
from jetseg.engine.mixing import Noise, StepCosts
from jetseg.onnx.cost import product_macs
from jetseg.onnx.graph import Graph
from jetseg.quantization.qdq.placement import Placement
from jetseg.quantization.sensitivity import LayerEffect

_LEAST_MS = 0.01
"""Layers that cost less than this to take back are all as good as free."""
_CAUTIONS = (1.0, 0.5, 0.0)
"""Mixtures are looked for with what a change of numbers costs, with half of it, and with none: these lie between."""
_STEPS = 40
"""What a pixel is worth goes from a hundredth of the mean price of one to a thousand times that, in so many steps."""
_LEAST_SHARE = 1e-3
"""Percent of the multiply-accumulates: nodes with less are all as good as free."""


@dataclass(frozen=True)
class Mixture:
    """Some layers in float, the others on integers.

    Attributes:
        in_float: Nodes, by output, that are in float beside those that were before.
        loss: Pixels that change their class by it, in percent, as far as that can be told from single quantizers.
    """

    in_float: frozenset[str]
    loss: float


def find_mixtures(
    costs: StepCosts, effects: Sequence[LayerEffect], lost: float, max_share: float = 100.0
) -> list[Mixture]:
    """Returns mixtures with more and more in float, each of the least time for what it loses.

    Quantizers are taken to be independent: what they lose adds up by its squares, and, to scale, to what was lost.

    Args:
        costs: What nodes cost in float, with those left out that are in float already.
        effects: What each quantizer does alone.
        lost: Pixels that changed their class with all of them, in percent.
        max_share: Percent of the multiply-accumulates that may be in float; where that is not all, mixtures are looked
            for that save them, and not time, too, and the last one takes as much as may be.
    """
    movable = costs.placement.integer_nodes
    noises = [
        Noise((100.0 - part.agreement) ** 2, tuple(name for name in part.nodes if name in movable))
        for effect in effects
        for part in effect.quantizers
        if part.nodes
    ]
    power = sum(noise.power for noise in noises)
    if not power:
        return []
    tried = _cheapest(costs, noises, power)
    if max_share < 100.0:
        tried |= _cheapest(costs.by_work(), noises, power)
        tried = {in_float for in_float in tried if costs.share_in_float(in_float) <= max_share}
        quietest = min(tried, key=lambda in_float: _left(noises, in_float), default=frozenset[str]())
        tried |= {_filled(costs, noises, start, max_share) for start in (frozenset[str](), quietest)}
    found: list[Mixture] = []
    for in_float in sorted(tried - {frozenset()}, key=costs.longer_ms):
        loss = lost * (_left(noises, in_float) / power) ** 0.5
        if loss < (found[-1].loss if found else lost):  # else a faster one is quieter
            found.append(Mixture(in_float, loss))
    return found


def _cheapest(costs: StepCosts, noises: Sequence[Noise], power: float) -> set[frozenset[str]]:
    """Returns what is best in float, for each price that a pixel may have."""
    price = abs(costs.longer_ms(costs.placement.integer_nodes)) / power
    return {
        costs.quieter_in_float(noises, worth, caution)
        for worth in price * np.logspace(-2.0, 3.0, _STEPS)
        for caution in _CAUTIONS
        if worth
    }


def _left(noises: Sequence[Noise], in_float: frozenset[str]) -> float:
    """Returns the power of the noise that is left with some nodes in float."""
    return sum(noise.power for noise in noises if not noise.nodes or not in_float.issuperset(noise.nodes))


def _filled(costs: StepCosts, noises: Sequence[Noise], in_float: frozenset[str], max_share: float) -> frozenset[str]:
    """Adds what loses most for its work, as long as the share allows it: what is best for a price leaves some over."""
    left = [noise for noise in noises if noise.nodes]
    while True:
        share = costs.share_in_float(in_float)
        left = [noise for noise in left if not in_float.issuperset(noise.nodes)]
        added = {noise: costs.share_in_float(in_float.union(noise.nodes)) - share for noise in left}
        fitting = [noise for noise in left if share + added[noise] <= max_share]
        if not fitting:
            return in_float
        in_float = in_float.union(max(fitting, key=lambda noise: noise.power / max(added[noise], _LEAST_SHARE)).nodes)


def costs_of_layers(graph: Graph, placement: Placement, effects: Sequence[LayerEffect]) -> StepCosts:
    """Returns the costs where the steps of engines are not known, but of some layers what they take longer in float.

    Others cost by their multiply-accumulates: as much for each as the known ones.
    """
    macs = product_macs(graph)
    known = {
        effect.layer: max(_LEAST_MS, effect.float_ms)
        for effect in effects
        if effect.float_ms is not None and effect.layer in macs
    }
    per_mac = sum(known.values()) / sum(macs[name] for name in known) if known else 1.0 / max(1, sum(macs.values()))
    others = {effect.layer: per_mac * macs.get(effect.layer, 0) if macs else _LEAST_MS for effect in effects}
    steps = [StepTime(name, "", spent, 0) for name, spent in {**others, **known}.items()]
    return StepCosts(graph, placement, steps, ())
