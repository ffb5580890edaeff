"""Explains what children of a network lost: compares, finds causes, and says it in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from jetseg.data.contract import Split
from jetseg.evaluation.accuracy import check_frames
from jetseg.explanation.causes.cause import Effects
from jetseg.explanation.causes.search import worst_frames
from jetseg.explanation.config import ExplainConfig
from jetseg.explanation.findings import Finding, find, suffering, with_causes
from jetseg.explanation.observe import Observation, observe
from jetseg.explanation.repair import Repair
from jetseg.explanation.sentences import doubts, sentence, summary
from jetseg.explanation.significance import Loss, compare
from jetseg.report.rows import Entry

CauseSearch = Callable[[Entry, Entry, Sequence[int], str], Effects | None]
"""Given parent, child, frames and class, looks for causes."""
RepairSearch = Callable[[Entry, Entry, Finding, Effects | None, Observation, int], Repair | None]
"""Given parent, child, a finding, its causes, what was counted and the child's number, finds what brings it back."""


@dataclass(frozen=True)
class Explanation:
    """What one child lost, and why.

    Attributes:
        name: Its name.
        path: Its file.
        stage: The last step of its history.
        summary: What was found, in words, the gravest first.
        findings: The same as data.
        doubts: What may be lost as well, but may be chance; empty if nothing.
        losses: Everything that was compared.
        effects: What was found out about causes; None where that was not looked for, or the files do not tell.
    """

    name: str
    path: str
    stage: str
    summary: tuple[str, ...]
    findings: tuple[Finding, ...]
    losses: tuple[Loss, ...]
    effects: Effects | None = None
    doubts: str = ""


@dataclass(frozen=True)
class Explained:
    """What all children of a network lost.

    Attributes:
        parent: Its name.
        children: What each of them lost.
        seen: What was counted on the frames.
        conditions: Data, split, device and toolchain, as figures are quoted with them.
    """

    parent: str
    children: tuple[Explanation, ...]
    seen: Observation
    conditions: dict[str, Any]


def explain_entries(
    entries: Sequence[Entry],
    split: Split,
    config: ExplainConfig,
    conditions: dict[str, Any],
    search_causes: CauseSearch | None = None,
    search_repair: RepairSearch | None = None,
) -> Explained:
    """Explains what the children of a network lost.

    Args:
        entries: The parent and its children, open; they stay open.
        split: A labelled split with their classes.
        config: What is compared.
        conditions: How the figures are quoted.
        search_causes: Looks for causes.
        search_repair: Looks for what brings a loss back.

    Raises:
        DataError: The classes differ, or a frame has no label.
    """
    for entry in entries:
        check_frames(entry.engine.manifest.classes, split, frames=config.frames)
    seen = observe(entries, split, config.frames)
    explainer = _Explainer(entries, split, config, seen, search_causes, search_repair)
    children = tuple(explainer.explain(number) for number in range(len(entries) - 1))
    return Explained(entries[0].name, children, seen, conditions)


@dataclass(frozen=True)
class _Explainer:
    """What the explanations of all children have in common."""

    entries: Sequence[Entry]
    split: Split
    config: ExplainConfig
    seen: Observation
    search_causes: CauseSearch | None
    search_repair: RepairSearch | None

    def explain(self, number: int) -> Explanation:
        """Explains what one child lost."""
        parent, entry, config, seen = self.entries[0], self.entries[number + 1], self.config, self.seen
        tables = seen.counts[0], seen.counts[number + 1]
        losses = compare(*tables, confidence=config.confidence, block=config.block, seed=config.seed)
        findings = find(losses)
        effects = None
        subject = suffering(findings)
        if self.search_causes is not None and subject is not None:
            indices = worst_frames(seen, number, subject, config.cause_frames, self.split.classes)
            effects = self.search_causes(parent, entry, indices, subject)
            findings = with_causes(findings, effects) if effects is not None else findings
        told: list[Finding] = []
        for finding in findings:
            words = sentence(finding, seen, number, config.confidence)
            told.append(replace(finding, sentence=words, repair=self._repair(finding, effects, number, told)))
        return Explanation(
            entry.name,
            str(entry.path),
            entry.stage,
            summary=tuple(summary(told, losses, seen, number)),
            findings=tuple(told),
            losses=tuple(losses),
            effects=effects,
            doubts=doubts(losses),
        )

    def _repair(
        self, finding: Finding, effects: Effects | None, number: int, graver: Sequence[Finding]
    ) -> Repair | None:
        """Returns what brings a loss back, unless the same was said of a graver one."""
        if self.search_repair is None:
            return None
        found = self.search_repair(self.entries[0], self.entries[number + 1], finding, effects, self.seen, number)
        proposed = {other.repair.kind for other in graver if other.repair is not None} - {"temperature"}
        return None if found is None or found.kind in proposed or (found.kind == "train" and proposed) else found
