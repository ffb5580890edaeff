"""Findings in words."""

from __future__ import annotations

from collections.abc import Sequence

from jetseg.explanation.findings import Finding
from jetseg.explanation.observe import Observation
from jetseg.explanation.scene import band_names
from jetseg.explanation.significance import MIOU, Loss


def sentence(finding: Finding, seen: Observation, child: int, confidence: float = 0.95) -> str:
    """Says what was found: the cause in the same breath, where there is one.

    Args:
        finding: The finding, with its cause.
        seen: What was counted.
        child: Position of the child among the children.
        confidence: That of the intervals.
    """
    told = _TOLD.get(finding.kind, _part)(finding, seen, child)
    low, high = finding.interval
    text = f"{told} ({100 * confidence:.0f} % interval {low:.1f} to {high:.1f})"
    if finding.cause is not None:
        text += f": {finding.cause.words}"
    return f"{text}."


def summary(findings: Sequence[Finding], losses: Sequence[Loss], seen: Observation, child: int) -> list[str]:
    """Returns the findings in words, the gravest first; without any, says that nothing was found."""
    if findings:
        return [finding.sentence for finding in findings]
    overall = next(loss for loss in losses if loss.key == MIOU)
    flips = seen.flips[child]
    changed = 100 * flips.changed / max(1, flips.pixels)
    return [
        f"No loss was found beyond chance: mIoU went from {overall.before:.2f} to {overall.after:.2f} %, "
        f"{changed:.2f} % of the labelled pixels changed their class, in {len(seen.frames)} frames and "
        f"{len(losses)} comparisons."
    ]


def doubts(losses: Sequence[Loss]) -> str:
    """Names classes, and mIoU, that fell by more than a point and may have fallen by chance; empty without any.

    What is not proven is not proven to be sound either, and whoever trusts the network should know where to look.
    """
    open_ones = [
        f"{loss.key.subject or 'mIoU'} {loss.points:.1f} ({loss.low:.1f} to {loss.high:.1f})"
        for loss in losses
        if loss.key.kind in ("class", "miou") and not loss.claimed and loss.points >= 1 and loss.low > 0
    ]
    if not open_ones:
        return ""
    return f"May be lost or chance, which more frames would tell: {', '.join(open_ones)} points of IoU."


def _class(finding: Finding, _seen: Observation, _child: int) -> str:
    return f"{finding.subject} lost {finding.loss:.1f} points of IoU, {_change(finding)}"


def _miou(finding: Finding, _seen: Observation, _child: int) -> str:
    return f"mIoU fell by {finding.loss:.1f} points, {_change(finding)}"


def _boundary(finding: Finding, _seen: Observation, _child: int) -> str:
    return f"The outlines of {finding.subject} lost {finding.loss:.1f} points of boundary IoU, {_change(finding)}"


def _change(finding: Finding) -> str:
    return f"{finding.before:.1f} before, {finding.after:.1f} now"


def _size(finding: Finding, seen: Observation, child: int) -> str:
    what = f"{finding.part} objects" + (f" of class {finding.subject}" if finding.subject else "")
    most = finding.after < finding.before / 2
    told = f"{what[0].upper()}{what[1:]} are lost" if most else f"Fewer {what} are found"
    count = _count(finding, seen, child)
    return f"{told}: of {count}, {finding.before:.0f} % were found before and {finding.after:.0f} % are now"


def _count(finding: Finding, seen: Observation, child: int) -> str:
    """Returns how many objects a finding is about."""
    table = seen.counts[child + 1]
    place = next(
        place
        for place, key in enumerate(table.keys)
        if (key.kind, key.subject, key.part) == (finding.kind, finding.subject, finding.part)
    )
    return f"{table.totals[:, place].sum():.0f}"


def _invented(finding: Finding, _seen: Observation, _child: int) -> str:
    share = f"{100 - finding.before:.0f} % were not there before, {100 - finding.after:.0f} % now"
    return f"More objects of class {finding.subject} are invented: of those that it sees, {share}"


def _calibration(finding: Finding, seen: Observation, child: int) -> str:
    unchanged = seen.flips[child].changed == 0
    told = "No pixel changed its class, but its confidence is wrong" if unchanged else "Its confidence is less right"
    before, after = seen.temperatures[0], seen.temperatures[child + 1]
    mended = ""
    if before and after:
        mended = f"; the temperature of its scores is {after:.2f} and was {before:.2f}"
    error = f"from {100 - finding.before:.2f} to {100 - finding.after:.2f} points"
    return f"{told}: the calibration error rose {error}{mended}"


def _part(finding: Finding, seen: Observation, _child: int) -> str:
    where = place_name(finding.kind, finding.part, seen)
    where = f"{where[0].upper()}{where[1:]}"
    if finding.kind == "distance":
        return f"{where}, {finding.before:.0f} % were found before and {finding.after:.0f} % are now"
    return f"{where}, {finding.loss:.1f} points of the pixels are lost"


def place_name(kind: str, part: str, seen: Observation) -> str:
    """Says where in the pictures, or in which frames."""
    if kind == "band":
        band = band_names(*seen.shape)[int(part)]
        return f"{band} from class boundaries" if band.startswith("beyond") else f"{band} away from class boundaries"
    if kind == "region":
        return f"in the {part} of the picture"
    if kind == "distance":
        return f"of objects that are {part}"
    return f"in {part} frames"


_TOLD = {
    "class": _class,
    "miou": _miou,
    "boundary": _boundary,
    "size": _size,
    "invented": _invented,
    "calibration": _calibration,
}
