"""The gate: an engine that lost too much accuracy is not handed over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from jetseg.errors import ConfigError
from jetseg.evaluate.agreement import Agreement
from jetseg.manifest import Accuracy

DEFAULT_MAX_DROP = 0.5
DEFAULT_MAX_CLASS_DROP = 1.0
DEFAULT_MIN_AGREEMENT = 97.0
"""Percent. ESPNet, simulated in INT8, kept 97.4 to 98.8 % at dusk and 99.2 to 99.6 % by day, and lost at most 0.21
points of mIoU."""
_NAMED_CLASSES = 3


@dataclass(frozen=True)
class Budget:
    """How much an engine may lose against the float network on the same frames, in points.

    Attributes:
        max_drop: Of mIoU.
        max_class_drop: Of the IoU of each class.
        by_class: Of the IoU of single classes, in place of `max_class_drop`.
    """

    max_drop: float = DEFAULT_MAX_DROP
    max_class_drop: float = DEFAULT_MAX_CLASS_DROP
    by_class: Mapping[str, float] = field(default_factory=dict)


def check_classes_of(budget: Budget, classes: tuple[str, ...]) -> None:
    """Refuses a budget for a class that the network does not have.

    Raises:
        ConfigError: A name is unknown.
    """
    unknown = sorted(set(budget.by_class) - set(classes))
    if unknown:
        raise ConfigError(f"The network has no class {', '.join(unknown)}.", f"Its classes are: {', '.join(classes)}.")


def broken_budgets(budget: Budget, before: Accuracy, after: Accuracy) -> tuple[str, ...]:
    """Returns what an engine lost beyond its budget, the largest excess first, mIoU before all.

    A class that the float network never saw or that has no IoU afterwards has no drop.

    >>> one = Accuracy(data="d", split="s", frames=1, miou=70.0, pixel_accuracy=None, per_class_iou={"car": 80.0})
    >>> other = one.model_copy(update={"miou": 69.0, "per_class_iou": {"car": 79.9}})
    >>> broken_budgets(Budget(), one, other)
    ('mIoU fell from 70.00 to 69.00 (-1.00, allowed -0.50)',)
    """
    found = []
    if before.miou is not None and after.miou is not None and before.miou - after.miou > budget.max_drop:
        found.append(_sentence("mIoU", before.miou, after.miou, budget.max_drop))
    excesses = []
    for name, old in before.per_class_iou.items():
        new, allowed = after.per_class_iou[name], budget.by_class.get(name, budget.max_class_drop)
        if old is not None and new is not None and old - new > allowed:
            excesses.append((old - new - allowed, _sentence(f"IoU of {name}", old, new, allowed)))
    return (*found, *(sentence for _, sentence in sorted(excesses, reverse=True)))


def broken_agreement(least: float, found: Agreement) -> tuple[str, ...]:
    """Returns that an engine gives too few pixels the float network's class, and which classes lose most; or nothing.

    >>> broken_agreement(97.0, Agreement(1, 95.5, {"road": 99.0, "pole": 61.25}))
    ("95.50 % of the pixels get the float network's class (at least 97): pole keeps 61.2 % of its pixels, \
road keeps 99.0 % of its pixels",)
    """
    if found.percent >= least:
        return ()
    worst = sorted(found.kept, key=lambda name: found.kept[name])[:_NAMED_CLASSES]
    losses = ", ".join(f"{name} keeps {found.kept[name]:.1f} % of its pixels" for name in worst)
    return (f"{found.percent:.2f} % of the pixels get the float network's class (at least {least:g}): {losses}",)


def _sentence(what: str, old: float, new: float, allowed: float) -> str:
    return f"{what} fell from {old:.2f} to {new:.2f} ({new - old:+.2f}, allowed -{allowed:.2f})"
