"""What an engine lost beyond its budget, as sentences."""

from __future__ import annotations

from math import inf

from jetseg.data.contract import Split, VolumetricSplit
from jetseg.engine.config import Budget
from jetseg.errors import ConfigError
from jetseg.evaluation.agreement import VOID, Agreement
from jetseg.evaluation.task_budget import budgets_of
from jetseg.evaluation.tasks import has_tasks
from jetseg.manifest import Manifest
from jetseg.measured import Accuracy

_NAMED_CLASSES = 3
VOLUME_METRICS = {"dice": "higher", "nsd": "higher", "hd95_mm": "lower", "lesions_missed": "lower"}
"""Metrics beside mIoU that an engine may be bound to, means over the organs or a sum, and what is better."""


def check_budget(budget: Budget, manifest: Manifest) -> None:
    """Refuses a budget for a class or a metric that the network does not have.

    Raises:
        ConfigError: A name is unknown, or an amount is no number.
    """
    classes = manifest.classes
    budgets_of(manifest.outputs, task_metrics(budget, manifest), budget.max_drop)
    unknown = sorted(set(budget.class_budget) - set(classes))
    if unknown:
        raise ConfigError(f"The network has no class {', '.join(unknown)}.", f"Its classes are: {', '.join(classes)}.")


def task_metrics(budget: Budget, manifest: Manifest) -> dict[str, str]:
    """Returns the budgets that are by task and metric; of one map of classes those of volumes are apart."""
    apart = () if has_tasks(manifest) else VOLUME_METRICS
    return {name: amount for name, amount in budget.task_drops.items() if name not in apart}


def accuracy_violations(budget: Budget, before: Accuracy, after: Accuracy) -> tuple[str, ...]:
    """Returns what an engine lost beyond its budget, the largest excess first, mIoU before all.

    A class that the float network never saw or that has no IoU afterwards has no drop.

    >>> one = Accuracy(data="d", split="s", frames=1, miou=70.0, pixel_accuracy=None, per_class_iou={"car": 80.0})
    >>> other = one.model_copy(update={"miou": 69.0, "per_class_iou": {"car": 79.9}})
    >>> accuracy_violations(Budget(), one, other)
    ('mIoU fell from 70.00 to 69.00 (-1.00, allowed -0.50)',)
    """
    found = []
    if before.miou is not None and after.miou is not None and before.miou - after.miou > budget.max_drop:
        found.append(_sentence("mIoU", before.miou, after.miou, budget.max_drop))
    excesses = []
    for name, old in before.per_class_iou.items():
        new, allowed = after.per_class_iou[name], budget.class_budget.get(name, budget.max_class_drop)
        if old is not None and new is not None and old - new > allowed:
            excesses.append((old - new - allowed, _sentence(f"IoU of {name}", old, new, allowed)))
    return (*found, *(sentence for _, sentence in sorted(excesses, reverse=True)))


def check_volume_drops(budget: Budget, split: Split, frames: int | None) -> None:
    """Refuses a budget for a metric that these frames do not tell.

    Raises:
        ConfigError: The metric is unknown, its amount is no number, or it is one of volumes, and there are none, or not
            all of their slices.
    """
    for name in set(budget.task_drops) & set(VOLUME_METRICS):
        _amount(name, budget.task_drops[name], 1.0)
    of_volumes = sorted(set(budget.task_drops) & set(VOLUME_METRICS) - {"dice"})
    if of_volumes and not (isinstance(split, VolumetricSplit) and (frames is None or frames >= len(split))):
        raise ConfigError(
            f"{', '.join(of_volumes)} can only be measured on whole volumes, and {split.spec} has none.",
            "Give a dataset of volumes, all of whose slices are looked at, or take these budgets out.",
        )


def volume_violations(budget: Budget, before: Accuracy, after: Accuracy) -> tuple[str, ...]:
    """Returns which metrics of volumes got worse than `task_drops` allows: dice, nsd, hd95_mm, lesions_missed.

    An organ or a surface that was lost makes all of them worse; dice is that of the frames where there are no volumes.

    >>> one = Accuracy(data="d", split="s", frames=1, miou=70.0, pixel_accuracy=None, per_class_iou={"liver": 80.0})
    >>> other = one.model_copy(update={"per_class_iou": {"liver": 79.0}})
    >>> volume_violations(Budget(task_drops={"dice": "0.3"}), one, other)
    ('dice got worse from 88.89 to 88.27 (by 0.62, allowed 0.30)',)
    """
    found = []
    for metric in (name for name in VOLUME_METRICS if name in budget.task_drops):
        amount, old, new = budget.task_drops[metric], before.metric(metric), after.metric(metric)
        if old is None or new is None:
            continue
        worse, allowed = (new - old if VOLUME_METRICS[metric] == "lower" else old - new), _amount(metric, amount, old)
        if worse > allowed:
            found.append(f"{metric} got worse from {old:.2f} to {new:.2f} (by {worse:.2f}, allowed {allowed:.2f})")
    return tuple(found)


def _amount(name: str, text: str, of: float) -> float:
    """Reads an amount, as in "0.3", or a share of a figure, as in "2%"."""
    try:
        number = float(text.removesuffix("%"))
    except ValueError:
        number = -1.0
    if not 0 <= number < inf:
        raise ConfigError(
            f"{name}={text} says no amount.", f"Write a number or a share, as in {name}=0.5 or {name}=2%."
        )
    return number * of / 100 if text.endswith("%") else number


def agreement_violations(least: float, found: Agreement) -> tuple[str, ...]:
    """Returns that an engine gives too few pixels the float network's class, and which classes lose most; or nothing.

    >>> agreement_violations(97.0, Agreement(1, 95.5, {"road": 99.0, "pole": 61.25}))
    ("95.50 % of the pixels get the float network's class (at least 97): pole keeps 61.2 % of its pixels, \
road keeps 99.0 % of its pixels",)
    """
    if found.percent >= least:
        return ()
    worst = sorted(found.kept, key=lambda name: found.kept[name])[:_NAMED_CLASSES]
    losses = ", ".join(f"{name} keeps {found.kept[name]:.1f} % of its pixels" for name in worst)
    return (f"{found.percent:.2f} % of the pixels get the float network's class (at least {least:g}): {losses}",)


def collapse_violations(found: Agreement) -> tuple[str, ...]:
    """Returns that an engine gives one class everywhere where the float network gives several; or nothing.

    A float network that gives nothing but void tells nothing about an engine either.

    >>> collapse_violations(Agreement(1, 98.0, {"road": 100.0, "pole": 0.0}, ("road",)))
    ('the engine gives road at every pixel, where the float network gives road, pole',)
    """
    if tuple(found.kept) == (VOID,):
        return ("the float network gives void at every pixel, so that nothing can be judged: see its manifest",)
    if len(found.given) == 1 and len(found.kept) > 1:
        seen = ", ".join(found.kept)
        return (f"the engine gives {found.given[0]} at every pixel, where the float network gives {seen}",)
    return ()


def _sentence(what: str, old: float, new: float, allowed: float) -> str:
    return f"{what} fell from {old:.2f} to {new:.2f} ({new - old:+.2f}, allowed -{allowed:.2f})"
