"""Another network in its place: one that comes with jetseg, trained already, or one of the registry, to be trained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from jetseg.advice.finding import Basis, Finding, Option
from jetseg.advice.plan import Plan
from jetseg.advice.priors import CITYSCAPES_MIOU
from jetseg.advice.workbench import Workbench
from jetseg.errors import JetsegError
from jetseg.network import open_network
from jetseg.registry import NETWORKS
from jetseg.shipped import shipped_names

_FASTER = 1.05


class Lighter:
    """Times other networks at the same input, and scores those that are trained for these classes."""

    name: ClassVar[str] = "lighter network"
    share: ClassVar[float] = 1.0

    def applies(self, bench: Workbench) -> str:
        """Tells that this can be tried on any network."""
        del bench
        return ""

    def run(self, bench: Workbench) -> Finding:
        """Tries all that are there."""
        options: list[Option] = []
        notes: list[str] = []
        for name, trained in _others(bench):
            if bench.clock.left() <= 0:
                notes.append(f"no time was left for {name}")
                continue
            try:
                found = _shipped(bench, name) if trained else _fresh(bench, name)
            except JetsegError as error:
                notes.append(f"{name} was not tried: {error}")
                continue
            options += found
            if not found:
                notes.append(f"{name} is not faster")
        return Finding(self.name, tuple(options), tuple(notes), "" if options else "none of them is faster")


def _others(bench: Workbench) -> Iterator[tuple[str, bool]]:
    """Yields the names of other networks, and whether they are trained already."""
    for name in shipped_names():
        if open_network(f"{name}.onnx").manifest.classes == bench.manifest.classes:
            yield name, True
    own = bench.manifest.model.factory if bench.manifest.model else ""
    yield from ((name, False) for name in NETWORKS.own if name != own)


def _shipped(bench: Workbench, name: str) -> list[Option]:
    """Returns what a trained network would gain, measured."""
    options = []
    for plan in (Plan(instead=name), Plan(instead=name, precision="int8")):
        speed = bench.speedup(plan)
        if speed >= _FASTER:
            source = f"{bench.stopwatch.source}; its accuracy was measured in float; see its model card for its terms"
            loss_from: Basis = "measured" if plan.precision == "fp32" else "predicted"
            options.append(Option(plan, speed, bench.drop(plan), 0.0, bench.stopwatch.basis, loss_from, source))
    return options


def _fresh(bench: Workbench, name: str) -> list[Option]:
    """Returns what a network that is still to be trained would gain; its loss by what papers say, if they do."""
    from jetseg.advice.repair import hours_of_training
    from jetseg.advice.structure import make_module
    from jetseg.models.cost import module_cost

    plan = Plan(instead=name)
    module, spec = make_module(bench, plan), bench.sized(plan).input
    macs = module_cost(module, (1, spec.channels, spec.height, spec.width)).macs
    if macs is not None and macs > bench.macs:  # it would take long to find out what this tells already
        return []
    speed = bench.speedup(plan)
    if speed < _FASTER:
        return []
    own = bench.manifest.model.factory if bench.manifest.model else ""
    drop, source = None, "nothing is published that both have in common"
    if own in CITYSCAPES_MIOU and name in CITYSCAPES_MIOU:
        ours, other = CITYSCAPES_MIOU[own], CITYSCAPES_MIOU[name]
        drop = ours.value - other.value
        source = f"published on Cityscapes: {ours.value} ({ours.source}) and {other.value} ({other.source})"
    hours = hours_of_training(bench, module)
    told = f"speed {bench.stopwatch.source}; loss: {source}"
    return [Option(plan, speed, drop, hours, bench.stopwatch.basis, "prior", told)]
