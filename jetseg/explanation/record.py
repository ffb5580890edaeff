"""An explanation as plain data, for machines: what `--json` prints."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from jetseg.explanation.counting import Key
from jetseg.explanation.explained import Explained, Explanation
from jetseg.explanation.findings import Finding
from jetseg.explanation.scene import SIZES, band_names
from jetseg.explanation.significance import CALIBRATION, MIOU, Loss


def as_record(explained: Explained) -> dict[str, Any]:
    """Returns everything that was found: lists and numbers only.

    `summary` and `findings` go over all children, the gravest of each first; `classes`, `sizes` and `boundaries` hold
    every comparison, claimed or not.
    """
    children = explained.children
    many = len(children) > 1
    return {
        "parent": explained.parent,
        "summary": [f"{child.name}: {words}" if many else words for child in children for words in child.summary],
        "findings": [_finding(child, finding) for child in children for finding in child.findings],
        "classes": [row for child in children for row in _losses(child, "class")],
        "sizes": [row for child in children for row in _losses(child, "size")],
        "boundaries": [
            *(row for child in children for row in _losses(child, "boundary")),
            *(_named(row, explained) for child in children for row in _losses(child, "band")),
        ],
        "children": [_child(explained, number) for number in range(len(children))],
        "conditions": explained.conditions,
    }


def _finding(child: Explanation, finding: Finding) -> dict[str, Any]:
    cause = finding.cause
    return {
        "child": child.name,
        "kind": finding.kind,
        "class": finding.subject or None,
        "part": finding.part or None,
        "before": finding.before,
        "after": finding.after,
        "loss": finding.loss,
        "interval": list(finding.interval),
        "p": finding.p,
        "layer": None if cause is None else cause.layer,
        "channels": [] if cause is None else list(cause.channels),
        "cause": None if cause is None else asdict(cause),
        "repair": None if finding.repair is None else asdict(finding.repair),
        "sentence": finding.sentence,
    }


def _losses(child: Explanation, kind: str) -> list[dict[str, Any]]:
    return [{"child": child.name, **_loss(loss)} for loss in child.losses if loss.key.kind == kind]


def _loss(loss: Loss) -> dict[str, Any]:
    return {
        "kind": loss.key.kind,
        "class": loss.key.subject or None,
        "part": loss.key.part or None,
        "before": round(loss.before, 3),
        "after": round(loss.after, 3),
        "loss": round(loss.points, 3),
        "interval": [round(loss.low, 3), round(loss.high, 3)],
        "p": round(loss.p, 4),
        "claimed": loss.claimed,
        "frames": loss.frames,
    }


def _named(row: dict[str, Any], explained: Explained) -> dict[str, Any]:
    """Names a band around class boundaries."""
    return {**row, "part": band_names(*explained.seen.shape)[int(row["part"])]}


def _child(explained: Explained, number: int) -> dict[str, Any]:
    child, seen = explained.children[number], explained.seen
    by_key = {loss.key: loss for loss in child.losses}
    others = ("region", "distance", "condition", "invented", "seen", "objects")
    return {
        "name": child.name,
        "path": child.path,
        "stage": child.stage,
        "miou": _loss(by_key[MIOU]),
        "doubts": child.doubts,
        "calibration": _loss(by_key[CALIBRATION]) if CALIBRATION in by_key else None,
        "temperature": seen.temperatures[number + 1],
        "calibration_error_mended": seen.mended[number + 1],
        "flips": asdict(seen.flips[number]),
        "others": [_loss(loss) for loss in child.losses if loss.key.kind in others],
        "effects": None if child.effects is None else asdict(child.effects),
    }


SizeRow = tuple[str, str, Loss, Loss]
"""Class, size, and the losses of objects that are found and that are seen."""


def size_rows(child: Explanation) -> list[SizeRow]:
    """Returns class and size of objects, with those that are found and those that are seen, all classes first."""
    by_key = {loss.key: loss for loss in child.losses}
    subjects = dict.fromkeys(key.subject for key in by_key if key.kind == "size")
    return [
        (subject, size, by_key[Key("size", subject, size)], by_key[Key("seen", subject, size)])
        for subject in sorted(subjects)
        for size in SIZES
        if Key("size", subject, size) in by_key
    ]
