"""What an engine lost beyond its budget, as sentences."""

from __future__ import annotations

from jetseg.engine.config import Budget
from jetseg.errors import ConfigError
from jetseg.evaluation.agreement import VOID, Agreement
from jetseg.evaluation.task_budget import budgets_of
from jetseg.manifest import Manifest
from jetseg.measured import Accuracy

_NAMED_CLASSES = 3


def check_budget(budget: Budget, manifest: Manifest) -> None:
    """Refuses a budget for a class or a metric that the network does not have.

    Raises:
        ConfigError: A name is unknown, or an amount is no number.
    """
    classes = manifest.classes
    budgets_of(manifest.outputs, budget.task_drops, budget.max_drop)
    unknown = sorted(set(budget.class_budget) - set(classes))
    if unknown:
        raise ConfigError(f"The network has no class {', '.join(unknown)}.", f"Its classes are: {', '.join(classes)}.")


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
