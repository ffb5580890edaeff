"""Follows one network through its artifacts and finds the first one that computes something else."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from jetseg.data.contract import Sample, Split
from jetseg.data.dataset import match_input
from jetseg.errors import QualityError
from jetseg.evaluation.accuracy import check_classes, spread
from jetseg.evaluation.agreement import VOID, kept_per_class
from jetseg.evaluation.config import Bounds
from jetseg.evaluation.confusion import ConfusionMatrix, Score
from jetseg.evaluation.same_network import check_same_network
from jetseg.manifest import Manifest
from jetseg.postprocess import ClassMap, as_nchw, class_map, resize_class_map
from jetseg.preprocess import NetworkInput, Preprocessor
from jetseg.progress import track


@dataclass(frozen=True)
class Rung:
    """One artifact of the network.

    Attributes:
        name: Unique in the ladder.
        manifest: Says what goes in and what comes out.
        infer: Network input to raw output, as `jetseg.engine.backend.Runner.infer`.
    """

    name: str
    manifest: Manifest
    infer: Callable[[NetworkInput], npt.NDArray[Any]]


@dataclass(frozen=True)
class RungParity:
    """How far one rung is from others; None where there is nothing to compare.

    Attributes:
        max_abs_error: Largest difference of a logit from the rung before.
        sqnr_db: Power of that rung's logits over the power of the difference, in dB; infinite without difference.
        agreement: Percent of the pixels with the same class as in the rung before.
        agreement_first: The same against the first rung.
        worst_agreement: `agreement` in the worst frame.
        worst_frame: Name of that frame.
        per_class_agreement: Percent of the pixels of each class in the rung before that keep it.
        miou: In percent, as `per_class_iou` is.
        miou_change: Against the first rung, in points.
    """

    name: str
    max_abs_error: float | None = None
    sqnr_db: float | None = None
    agreement: float | None = None
    agreement_first: float | None = None
    worst_agreement: float | None = None
    worst_frame: str | None = None
    per_class_agreement: dict[str, float | None] | None = None
    miou: float | None = None
    miou_change: float | None = None
    per_class_iou: dict[str, float | None] | None = None


@dataclass(frozen=True)
class Breach:
    """A bound that a rung breaks.

    Attributes:
        bound: The field of `Bounds`.
        value: What was measured: agreement in percent, or points of mIoU lost.
        worst_class: Class that lost most agreement with the rung before, or most IoU against the first.
    """

    bound: Literal["min_agreement", "max_drop"]
    limit: float
    value: float
    worst_class: str


@dataclass(frozen=True)
class LadderParity:
    """All rungs, in their order, and what the first one that breaks a bound breaks.

    Attributes:
        labelled_frames: Frames with labels, of `frames`.
        first_failing: Position of that rung in `rungs`; None if all hold.
        breaches: The bounds that it breaks.
    """

    frames: int
    labelled_frames: int
    rungs: tuple[RungParity, ...]
    first_failing: int | None
    breaches: tuple[Breach, ...]

    @property
    def verdict(self) -> str:
        """Whether all rungs hold, or what the first one breaks and which class lost most, in one sentence."""
        if self.first_failing is None:
            return "All rungs hold."
        first, before, rung = self.rungs[0], self.rungs[self.first_failing - 1], self.rungs[self.first_failing]
        return f"{rung.name} breaks: {', '.join(_reason(breach, first, before, rung) for breach in self.breaches)}."


def measure_parity(rungs: Sequence[Rung], dataset: Split, bounds: Bounds, *, frames: int | None = None) -> LadderParity:
    """Compares each rung with the one before it and with the first, on the same frames, one frame at a time.

    Class maps are compared at the network's input size and scored at the size of the labels. Logits are compared
    where both rungs give logits of one shape.

    Args:
        rungs: Artifacts of one network, in the order they were made.
        dataset: The split. Frames without labels are compared, but not scored.
        bounds: What a rung may lose.
        frames: Compare only this many frames, spread evenly over the split; all by default.

    Raises:
        ManifestError: The rungs have other classes or eat something else.
        ArtifactError: A rung gives an output of another shape than its manifest promises.
        DataError: The dataset has labels, and its classes are not the network's.
        QualityError: A rung gives logits that are not finite.
    """
    check_same_network({rung.name: rung.manifest for rung in rungs})
    dataset = match_input(dataset, rungs[0].manifest.input)
    indices = spread(len(dataset), frames)
    tallies = [_Tally(rung, dataset) for rung in rungs]
    for index in track(indices, "Comparing"):
        sample = dataset[index]
        if sample.label_hw_u8 is not None:
            check_classes(rungs[0].manifest.classes, dataset.classes, dataset.spec)
        views: list[_View] = []
        for tally in tallies:
            view = tally.look(sample)
            if views:
                tally.compare(view, views[-1], views[0], sample.name)
            views = [*views[:1], view]
    first = tallies[0].confusion.score()
    results = tuple(tally.result(first) for tally in tallies)
    failing, breaches = _first_break(results, bounds)
    return LadderParity(len(indices), first.frames, results, failing, breaches)


def sqnr_db(signal_power: float, error_power: float) -> float:
    """Returns the signal-to-quantization-noise ratio in dB; infinite without an error.

    >>> sqnr_db(100.0, 1.0)
    20.0
    """
    if error_power == 0:
        return math.inf
    return 10 * math.log10(signal_power / error_power) if signal_power > 0 else -math.inf


@dataclass(frozen=True)
class _View:
    """What a rung makes of one frame: raw logits (None for a class map) and class ids at the input size."""

    logits: npt.NDArray[Any] | None
    ids_hw_u8: ClassMap


class _Tally:
    """Sums over the frames what one rung gives and how it differs from others."""

    def __init__(self, rung: Rung, dataset: Split) -> None:
        self.confusion = ConfusionMatrix(dataset.classes, dataset.ignore_index)
        self._rung = rung
        self._preprocess = Preprocessor(rung.manifest.input)
        self._kept = ConfusionMatrix((*rung.manifest.classes, VOID), None)  # the rung before stands for the label
        self._agreements: list[tuple[float, str]] = []
        self._agreements_first: list[float] = []
        self._max_abs_error: float | None = None
        self._signal_power = self._error_power = 0.0

    def look(self, sample: Sample) -> _View:
        """Runs the rung on a frame, and scores it if the frame has a label."""
        manifest = self._rung.manifest
        output = np.asarray(self._rung.infer(self._preprocess(sample.image_hwc_u8)))
        logits = as_nchw(output, manifest.output) if manifest.output.kind == "logits" else None
        if logits is not None and not np.isfinite(logits).all():
            raise QualityError(
                f"{self._rung.name} gives logits that are not finite numbers in frame {sample.name}.",
                "A layer overflows or divides by zero: build it with a higher precision, or repair the network.",
            )
        ids = class_map(output, manifest)
        if sample.label_hw_u8 is not None:
            self.confusion.update(sample.label_hw_u8, resize_class_map(ids, *sample.label_hw_u8.shape))
        return _View(logits, resize_class_map(ids, manifest.input.height, manifest.input.width))

    def compare(self, view: _View, before: _View, first: _View, frame: str) -> None:
        """Adds the differences in one frame."""
        self._kept.update(before.ids_hw_u8, view.ids_hw_u8)
        self._agreements.append((_percent_equal(view.ids_hw_u8, before.ids_hw_u8), frame))
        self._agreements_first.append(_percent_equal(view.ids_hw_u8, first.ids_hw_u8))
        if view.logits is not None and before.logits is not None and view.logits.shape == before.logits.shape:
            self._add_error(view.logits[0], before.logits[0])

    def _add_error(self, logits_chw: npt.NDArray[Any], before_chw: npt.NDArray[Any]) -> None:
        for plane, plane_before in zip(logits_chw, before_chw, strict=True):  # a copy of all would be large
            signal = plane_before.astype(np.float64)
            error = plane - signal
            self._max_abs_error = max(self._max_abs_error or 0.0, float(np.abs(error).max()))
            self._signal_power += float(np.square(signal).sum())
            self._error_power += float(np.square(error).sum())

    def result(self, first: Score) -> RungParity:
        """Returns the figures over all frames, given the score of the first rung."""
        score = self.confusion.score()
        scored = RungParity(
            self._rung.name, miou=score.miou, per_class_iou=score.per_class_iou if score.frames else None
        )
        if not self._agreements:
            return scored
        worst_agreement, worst_frame = min(self._agreements)
        return replace(
            scored,
            max_abs_error=self._max_abs_error,
            sqnr_db=None if self._max_abs_error is None else sqnr_db(self._signal_power, self._error_power),
            agreement=float(np.mean([agreement for agreement, _ in self._agreements])),
            agreement_first=float(np.mean(self._agreements_first)),
            worst_agreement=worst_agreement,
            worst_frame=worst_frame,
            per_class_agreement=kept_per_class(self._kept),
            miou_change=None if score.miou is None or first.miou is None else score.miou - first.miou,
        )


def _percent_equal(one: ClassMap, other: ClassMap) -> float:
    return 100 * float(np.mean(one == other))


def _first_break(rungs: Sequence[RungParity], bounds: Bounds) -> tuple[int | None, tuple[Breach, ...]]:
    for position, rung in enumerate(rungs):
        breaches = _breaches(rung, rungs[0], bounds)
        if breaches:
            return position, breaches
    return None, ()


def _breaches(rung: RungParity, first: RungParity, bounds: Bounds) -> tuple[Breach, ...]:
    found = []
    if rung.agreement is not None and rung.agreement < bounds.min_agreement:
        kept = {name: share for name, share in (rung.per_class_agreement or {}).items() if share is not None}
        worst_class = min(kept, key=lambda name: kept[name])
        found.append(Breach("min_agreement", bounds.min_agreement, rung.agreement, worst_class))
    if rung.miou_change is not None and -rung.miou_change > bounds.max_drop:
        worst_class = _largest_loss(first.miou or 0.0, first.per_class_iou or {}, rung.per_class_iou or {})
        found.append(Breach("max_drop", bounds.max_drop, -rung.miou_change, worst_class))
    return tuple(found)


def _largest_loss(miou_before: float, iou_before: dict[str, float | None], iou_after: dict[str, float | None]) -> str:
    """Returns the class that pulled mIoU down most.

    A class that no label holds has no IoU until a rung predicts it; then it joins the mean with 0, which costs
    as much as a fall from the mean to 0.
    """

    def loss(name: str) -> float:
        before, after = iou_before[name], iou_after[name]
        return -math.inf if after is None else (miou_before if before is None else before) - after

    return max(iou_after, key=loss)


def _reason(breach: Breach, first: RungParity, before: RungParity, rung: RungParity) -> str:
    name = breach.worst_class
    if breach.bound == "min_agreement":
        kept = (rung.per_class_agreement or {})[name]
        return (
            f"{breach.value:.3f} % agreement with {before.name} (at least {breach.limit:g}; {name} keeps "
            f"only {_two_digits(kept)} % of its pixels; the worst frame is {rung.worst_frame})"
        )
    old, new = ((scored.per_class_iou or {})[name] for scored in (first, rung))
    return (
        f"{breach.value:.2f} points of mIoU lost against {first.name} (at most {breach.limit:g}; IoU of "
        f"{name} went from {_two_digits(old)} to {_two_digits(new)})"
    )


def _two_digits(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f}"
