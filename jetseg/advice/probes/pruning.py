"""Structured pruning: which channels can go, at what loss, and what it gains."""

from __future__ import annotations

from typing import ClassVar

from jetseg.advice.finding import Bars, Finding, Option
from jetseg.advice.plan import Plan
from jetseg.advice.probe import NEEDS_TORCH
from jetseg.advice.workbench import Workbench
from jetseg.progress import task

_RATIOS = (0.5, 0.25, 0.7)
"""Tried in this order."""
_REPAIR_SHARE = 0.45
_LEFT_AFTER_MORE = 0.5
"""Of what a short repair leaves lost, the part that the recipe's epochs are expected to leave as well."""
_GROUPS_SHOWN = 24


class Pruning:
    """Prunes as the recipe would, scores with batch norms estimated anew, and repairs one network for a minute."""

    name: ClassVar[str] = "pruning"
    share: ClassVar[float] = 4.0

    def applies(self, bench: Workbench) -> str:
        """Returns that channels of an ONNX file cannot be removed."""
        return "" if bench.has_modules else NEEDS_TORCH

    def run(self, bench: Workbench) -> Finding:
        """Prunes by several ratios, repairs at the middle one, then looks at each group alone."""
        from jetseg.advice.repair import hours_of_training, repair
        from jetseg.advice.structure import pruned_checkpoint

        before, recovered = bench.clock.left(), 0.0
        lost: dict[float, float] = {}
        notes = []
        for ratio in _RATIOS:
            if lost and bench.clock.left() < 0.3 * before:
                break
            lost[ratio] = bench.drop(Plan(prune_ratio=ratio))
            bench.speedup(Plan(prune_ratio=ratio))
            if ratio == _RATIOS[0] and lost[ratio] > 0:
                checkpoint = pruned_checkpoint(bench, Plan(prune_ratio=ratio))
                miou, frames = repair(bench, checkpoint, _REPAIR_SHARE * bench.clock.left())
                recovered = min(1.0, max(0.0, 1 - (bench.miou(Plan()) - miou) / lost[ratio]))
                notes.append(
                    f"without half of its channels it loses {lost[ratio]:.1f} points, and {100 * recovered:.0f} % of "
                    f"that came back by learning from {frames} frames"
                )
        hours = hours_of_training(bench, bench.module)
        source = (
            f"{bench.stopwatch.source}; the loss is that without training, less what a short repair brought back "
            f"and {100 * (1 - _LEFT_AFTER_MORE):.0f} % of the rest, which is a guess"
        )
        options = [
            Option(
                plan := Plan(prune_ratio=ratio),
                bench.speedup(plan),
                lost[ratio] * (1 - recovered) * _LEFT_AFTER_MORE,
                hours,
                bench.stopwatch.basis,
                "predicted",
                source,
            )
            for ratio in sorted(lost)
        ]
        effects = _group_effects(bench)
        notes.append(_sentence(effects) if effects else "no time was left to look at each group of layers alone")
        return Finding(self.name, tuple(options), tuple(notes), figures=_figures(effects))


def _group_effects(bench: Workbench) -> dict[str, float]:
    """Returns the pixels that change their class without half of a group's channels, in percent, the worst first."""
    from jetseg.advice.sensitivity import GroupSensitivity

    sensitivity = GroupSensitivity(bench)
    found: dict[str, float] = {}
    with task("Pruning each group alone", len(sensitivity.groups)) as work:
        for group in sensitivity.groups:
            if bench.clock.left() <= 0:
                break
            found[group.root] = sensitivity.changed(group, _RATIOS[0])
            work.update(advance=1)
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _sentence(effects: dict[str, float]) -> str:
    worst, best = next(iter(effects)), next(reversed(effects))
    return (
        f"of {len(effects)} groups of layers, {worst} suffers most without half of its channels ({effects[worst]:.1f} "
        f"% of the pixels change their class), {best} least ({effects[best]:.1f} %)"
    )


def _figures(effects: dict[str, float]) -> tuple[Bars, ...]:
    shown = list(effects.items())[:_GROUPS_SHOWN]
    if not shown:
        return ()
    names, values = zip(*shown, strict=True)
    title = "Each group of layers alone without half of its channels"
    return (Bars(title, "pixels that change their class, percent", names, values),)
