"""Findings: what a child lost beyond chance, why, and what brings it back; as data, the gravest first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from jetseg.explanation.causes.cause import Cause, Effects
from jetseg.explanation.counting import Key
from jetseg.explanation.repair import Repair
from jetseg.explanation.scene import DISTANCES, SIZES
from jetseg.explanation.significance import Loss

_WEIGHTS = {"class": 1.0, "miou": 0.9, "size": 0.7, "calibration": 0.6, "boundary": 0.5, "invented": 0.4}
"""How much a point of a share weighs against a point of IoU; parts of pictures, where all classes count, come last."""
_OTHERS = 0.3
_LEAST_POINTS = 0.1
"""A loss below this is not told, however sure it is."""
_ALIKE = 0.9
"""Similarity from which features count as the same."""
_STANDS_OUT = 1.5
"""Times the loss of all pixels that a part of the pictures must have lost to be told; of larger objects, that a size
must have lost."""


@dataclass(frozen=True)
class Finding:
    """One loss that chance does not explain.

    Attributes:
        kind: "class", "miou", "boundary" (boundary IoU), "size" (objects found), "invented" (objects that are there),
            "band", "region", "distance", "condition" (pixels right in a part of the pictures, or in a kind of frames),
            "calibration" (100 - expected calibration error).
        subject: The class; empty for all.
        part: The size, band, region, distance or condition; empty for all.
        before: Percent of the parent.
        after: Percent of the child.
        loss: Points.
        interval: Its interval, in points.
        p: Probability that the largest of all that was compared is as large by chance.
        sentence: What was found, in words.
        cause: What explains it.
        repair: What brings it back.
    """

    kind: str
    subject: str
    part: str
    before: float
    after: float
    loss: float
    interval: tuple[float, float]
    p: float
    sentence: str = ""
    cause: Cause | None = None
    repair: Repair | None = None


def find(losses: Sequence[Loss]) -> list[Finding]:
    """Turns the claimed losses of a child into findings, the gravest first; causes and sentences come later."""
    by_key = {loss.key: loss for loss in losses}
    return order(_finding(loss) for loss in losses if loss.claimed and _is_told(loss, by_key))


def order(findings: Iterable[Finding]) -> list[Finding]:
    """Sorts findings: those whose cause is proven first, then by what was lost."""

    def gravity(finding: Finding) -> tuple[bool, float]:
        proven = finding.cause is not None and finding.cause.proven
        return not proven, -finding.loss * _WEIGHTS.get(finding.kind, _OTHERS)

    return sorted(findings, key=gravity)


def with_causes(findings: Sequence[Finding], effects: Effects) -> list[Finding]:
    """Gives the finding about a class the strongest cause that was found for it, and sorts them anew."""
    if not effects.causes or not _explains(effects.causes[0]):
        return list(findings)
    about = ("class" if effects.subject else "miou", effects.subject)
    return order(
        replace(finding, cause=effects.causes[0]) if (finding.kind, finding.subject) == about else finding
        for finding in findings
    )


def _explains(cause: Cause) -> bool:
    """Tells whether a cause is worth a word: features that are alike explain nothing."""
    return cause.similarity is None or cause.similarity < _ALIKE


def suffering(findings: Sequence[Finding]) -> str | None:
    """Returns the class to look for causes of: the one that lost most, empty for the mean, None if nothing is lost."""
    classes = [finding for finding in findings if finding.kind == "class"]
    if classes:
        return max(classes, key=lambda finding: finding.loss).subject
    accuracy = [finding for finding in findings if finding.kind != "calibration"]
    return "" if accuracy else None


def _is_told(loss: Loss, by_key: dict[Key, Loss]) -> bool:
    """Tells whether a claimed loss says something that no other one says."""
    return loss.points >= _LEAST_POINTS and _TOLD.get(loss.key.kind, _always)(loss, by_key)


def _always(_loss: Loss, _by_key: dict[Key, Loss]) -> bool:
    return True


def _if_no_class(_loss: Loss, by_key: dict[Key, Loss]) -> bool:
    return not any(other.claimed and key.kind == "class" for key, other in by_key.items())


def _if_more_than_its_class(loss: Loss, by_key: dict[Key, Loss]) -> bool:
    own = by_key.get(Key("class", loss.key.subject))
    return own is None or not own.claimed or loss.points > _STANDS_OUT * own.points


def _if_more_than_larger_ones(loss: Loss, by_key: dict[Key, Loss]) -> bool:
    """Tells also whether a class lost more objects of the size than all classes did."""
    _, subject, part = loss.key
    all_classes = by_key[Key("size", "", part)]
    special = not subject or not all_classes.claimed or loss.points > _STANDS_OUT * all_classes.points
    larger = [by_key.get(Key("size", subject, size)) for size in SIZES[SIZES.index(part) + 1 :]]
    known = [other.points for other in larger if other is not None]
    return special and bool(known) and loss.points > _STANDS_OUT * max(known)


def _if_more_than_other_distances(loss: Loss, by_key: dict[Key, Loss]) -> bool:
    others = [by_key.get(Key("distance", "", other)) for other in DISTANCES if other != loss.key.part]
    return all(other is None or loss.points > _STANDS_OUT * other.points for other in others)


def _if_more_than_elsewhere(loss: Loss, by_key: dict[Key, Loss]) -> bool:
    overall = by_key[Key("pixels")].points
    return loss.excess is not None and loss.excess[1] > 0 and loss.points > _STANDS_OUT * overall


_TOLD: dict[str, Callable[[Loss, dict[Key, Loss]], bool]] = {
    "miou": _if_no_class,
    "boundary": _if_more_than_its_class,
    "size": _if_more_than_larger_ones,
    "distance": _if_more_than_other_distances,
    "band": _if_more_than_elsewhere,
    "region": _if_more_than_elsewhere,
    "condition": _if_more_than_elsewhere,
}
"""By kind, when a claimed loss is told; others always are."""


def _finding(loss: Loss) -> Finding:
    kind, subject, part = loss.key
    return Finding(
        kind,
        subject,
        part,
        before=round(loss.before, 3),
        after=round(loss.after, 3),
        loss=round(loss.points, 3),
        interval=(round(loss.low, 3), round(loss.high, 3)),
        p=round(loss.p, 4),
    )
