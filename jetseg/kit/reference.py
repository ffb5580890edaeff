"""Compares an engine with the float network on a kit's reference frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jetseg.data.contract import Sample, Split
from jetseg.engine.budget import accuracy_violations, agreement_violations, collapse_violations
from jetseg.engine.config import Budget
from jetseg.engine.engine import Engine
from jetseg.errors import ArtifactError
from jetseg.evaluation.accuracy import as_record
from jetseg.evaluation.agreement import VOID, Agreement, agreement_of
from jetseg.evaluation.confusion import ConfusionMatrix
from jetseg.kit.config import Tolerance
from jetseg.measured import Accuracy
from jetseg.postprocess import ClassMap, resize_class_map
from jetseg.progress import track


@dataclass(frozen=True)
class KitComparison:
    """How an engine does on the reference frames.

    Attributes:
        frames: How many there are.
        agreement: Percent of pixels that get the float network's class.
        worst_frame: Name of the frame with the least agreement.
        worst_agreement: That agreement.
        kept: For each class that the float network saw, the percent of its pixels that keep it.
        before: Accuracy of the float network; None without labels.
        after: Accuracy of the engine.
        violations: What goes beyond the tolerance, one sentence each; classes are named.
    """

    frames: int
    agreement: float
    worst_frame: str
    worst_agreement: float
    kept: dict[str, float]
    before: Accuracy | None
    after: Accuracy | None
    violations: tuple[str, ...] = ()


def compare_with_kit(
    engine: Engine,
    frames: Split,
    expected: Sequence[ClassMap],
    tolerance: Tolerance,
    description: str = "Comparing",
) -> KitComparison:
    """Runs the reference frames and compares the class maps with the float network's.

    Args:
        engine: The engine, open.
        frames: The reference frames.
        expected: The float network's class map of each.
        tolerance: What may be lost.
        description: Text of the progress bar.

    Raises:
        ArtifactError: A class map has another size than the float network's.
    """
    manifest = engine.manifest
    together = ConfusionMatrix((*manifest.classes, VOID), None)
    old, new = (ConfusionMatrix(manifest.classes, manifest.ignore_index) for _ in range(2))
    worst = (101.0, "")
    for index in track(range(len(frames)), description):
        sample = frames[index]
        found = engine.segment(sample.image_hwc_u8)
        if found.shape != expected[index].shape:
            raise ArtifactError(
                f"The engine's class maps are {found.shape[1]}x{found.shape[0]} pixels, the float network's "
                f"{expected[index].shape[1]}x{expected[index].shape[0]}.",
                "Build the engine from the network in the kit.",
            )
        together.update(expected[index], found)
        worst = min(worst, (100 * float((expected[index] == found).mean()), sample.name))
        _score(old, sample, expected[index])
        _score(new, sample, found)
    shared = agreement_of(together)
    before = as_record(old.score(), frames) if old.frames else None
    after = as_record(new.score(), frames) if new.frames else None
    violations = _violations(tolerance, shared, before, after)
    return KitComparison(len(frames), shared.percent, worst[1], worst[0], shared.kept, before, after, violations)


def _score(confusion: ConfusionMatrix, sample: Sample, prediction: ClassMap) -> None:
    if sample.label_hw_u8 is not None:
        confusion.update(sample.label_hw_u8, resize_class_map(prediction, *sample.label_hw_u8.shape[:2]))


def _violations(
    tolerance: Tolerance, shared: Agreement, before: Accuracy | None, after: Accuracy | None
) -> tuple[str, ...]:
    found = collapse_violations(shared) + agreement_violations(tolerance.min_agreement, shared)
    if before is not None and after is not None:
        budget = Budget(max_drop=tolerance.max_drop, max_class_drop=tolerance.max_class_drop)
        found += accuracy_violations(budget, before, after)
    return found
