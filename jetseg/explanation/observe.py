"""Runs parent and children over the same frames once, and counts everything that is told about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from jetseg.data.contract import Sample, Split
from jetseg.errors import DataError
from jetseg.evaluation.accuracy import check_classes, spread
from jetseg.evaluation.confusion import ConfusionMatrix
from jetseg.evaluation.signals import SignalMeter
from jetseg.evaluation.temperature import fit_temperature
from jetseg.explanation.calibration_error import Scores, calibration_error, grid_of
from jetseg.explanation.counting import Counted, count_frame, reliability
from jetseg.explanation.flips import Flips, count_flips
from jetseg.explanation.ledger import Array, Counts, gather, with_conditions
from jetseg.explanation.prediction import Prediction, Predictor
from jetseg.explanation.scene import Scene
from jetseg.progress import track
from jetseg.report.rows import Entry

CONDITIONS = {"brightness": ("dark", "bright"), "sharpness": ("blurred", "sharp"), "contrast": ("flat", "contrasty")}
"""By what is measured on a frame, the names of the lowest and the highest third."""
_LEAST_FRAMES = 9
"""Frames from which thirds are formed."""


@dataclass(frozen=True)
class FrameRecord:
    """One frame.

    Attributes:
        index: Position in the split.
        name: Its name.
        measured: Brightness, sharpness and contrast.
        right: Percent of the labelled pixels that each network has right, the parent first.
        lost: For each child and class, labelled pixels that the parent had right and the child has not.
    """

    index: int
    name: str
    measured: dict[str, float]
    right: tuple[float, ...]
    lost: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Observation:
    """What parent and children said about the same frames; the parent is first wherever all of them are told.

    Attributes:
        counts: Shares of each network, frame by frame.
        confusion: Confusion of each network over all frames.
        flips: Pixels that changed in each child.
        temperatures: What to divide the scores of each network by, so that its confidence comes true, in place of the
            temperature in its manifest; None without probabilities.
        mended: Calibration error of each network with that, in points: with one that was fitted to every second frame,
            on the others.
        frames: The frames, in their order.
        shape: Height and width of the first label.
    """

    counts: tuple[Counts, ...]
    confusion: tuple[ConfusionMatrix, ...]
    flips: tuple[Flips, ...]
    temperatures: tuple[float | None, ...]
    mended: tuple[float | None, ...]
    frames: tuple[FrameRecord, ...]
    shape: tuple[int, int]

    def groups(self) -> dict[str, npt.NDArray[np.bool_]]:
        """Returns which frames belong to the lowest and highest third of what is measured on them."""
        found: dict[str, npt.NDArray[np.bool_]] = {}
        if len(self.frames) < _LEAST_FRAMES:
            return found
        for measure, names in CONDITIONS.items():
            values = np.array([frame.measured[measure] for frame in self.frames])
            low, high = np.quantile(values, [1 / 3, 2 / 3])
            if low < high:
                found[names[0]], found[names[1]] = values <= low, values > high
        return found


def observe(entries: Sequence[Entry], split: Split, frames: int | None = None) -> Observation:
    """Runs all networks over the frames.

    Args:
        entries: The parent and its children.
        split: The frames, with labels.
        frames: Use only this many, spread evenly; all by default.

    Raises:
        DataError: A network has other classes than the dataset, or a frame has no label.
    """
    for entry in entries:
        check_classes(entry.engine.manifest.classes, split.classes, split.spec)
    watched = [
        _Watched(Predictor(entry.engine), ConfusionMatrix(split.classes, split.ignore_index)) for entry in entries
    ]
    flips = [Flips(undecided=0, sure_right=0, sure_wrong=0, between=0) for _ in entries[1:]]
    records: list[FrameRecord] = []
    shape = (0, 0)
    for index in track(spread(len(split), frames), "Comparing the networks on every frame"):
        sample = split[index]
        scene = scene_of(sample, split)
        shape = shape if records else (scene.label_hw_u8.shape[0], scene.label_hw_u8.shape[1])
        predictions = [network.look(sample, scene) for network in watched]
        flips = [
            total + count_flips(scene, predictions[0], child)
            for total, child in zip(flips, predictions[1:], strict=True)
        ]
        records.append(_record(index, sample, scene, predictions))
    counts = gather([network.counted for network in watched], [network.reliability for network in watched])
    fitted = [network.fit() for network in watched]
    seen = Observation(
        counts,
        confusion=tuple(network.confusion for network in watched),
        flips=tuple(flips),
        temperatures=tuple(temperature for temperature, _ in fitted),
        mended=tuple(error for _, error in fitted),
        frames=tuple(records),
        shape=shape,
    )
    groups = seen.groups()
    return replace(seen, counts=tuple(with_conditions(table, groups) for table in counts)) if groups else seen


def scene_of(sample: Sample, split: Split) -> Scene:
    """Returns the label of a frame, taken apart.

    Raises:
        DataError: The frame has none.
    """
    if sample.label_hw_u8 is None:
        raise DataError(
            f"{split.spec} ({split.split}): frame {sample.name} has no label.",
            "What was lost is told against labels, so give a labelled split.",
        )
    return Scene(sample.label_hw_u8, len(split.classes), split.ignore_index)


@dataclass
class _Watched:
    """One network, and what was counted for it so far."""

    predict: Predictor
    confusion: ConfusionMatrix
    counted: list[Counted] = field(default_factory=list)
    reliability: list[Array | None] = field(default_factory=list)
    sampled: list[tuple[Scores, npt.NDArray[np.uint8]]] = field(default_factory=list)

    def look(self, sample: Sample, scene: Scene) -> Prediction:
        height, width = scene.label_hw_u8.shape
        prediction = self.predict(sample.image_hwc_u8, height, width)
        own = ConfusionMatrix(self.confusion.classes, self.confusion.ignore_index)
        own.update(scene.label_hw_u8, prediction.ids_hw_u8)
        self.confusion.add(own)
        self.counted.append(count_frame(scene, prediction, own))
        self.reliability.append(reliability(scene, prediction))
        if prediction.scores_chw is not None:
            self.sampled.append(grid_of(prediction.scores_chw, scene.label_hw_u8, scene.scored_hw))
        return prediction

    def fit(self) -> tuple[float | None, float | None]:
        """Returns the temperature, and the calibration error with one that was fitted to other frames, in points."""
        sampled = [found for found in self.sampled if len(found[1])]
        if not sampled:
            return None, None
        halves = (sampled[::2], sampled[1::2]) if len(sampled) > 1 else (sampled, sampled)
        heated = [
            (scores / np.float32(_temperature(other)), labels)
            for half, other in zip(halves, reversed(halves), strict=True)
            for scores, labels in half
        ]
        error = calibration_error(*_together(heated), temperature=1.0)
        return self.predict.engine.manifest.temperature * _temperature(sampled), 100 * error


def _temperature(sampled: Sequence[tuple[Scores, npt.NDArray[np.uint8]]]) -> float:
    scores, labels = _together(sampled)
    return fit_temperature([scores.T], [labels])


def _together(sampled: Sequence[tuple[Scores, npt.NDArray[np.uint8]]]) -> tuple[Scores, npt.NDArray[np.uint8]]:
    scores, labels = zip(*sampled, strict=True)
    return np.concatenate(scores), np.concatenate(labels)


def _record(index: int, sample: Sample, scene: Scene, predictions: Sequence[Prediction]) -> FrameRecord:
    ids = [prediction.ids_hw_u8 for prediction in predictions]
    right = [(found == scene.label_hw_u8) & scene.scored_hw for found in ids]
    pixels = max(1, int(scene.scored_hw.sum()))
    signals = SignalMeter(scene.classes).measure(sample.image_hwc_u8, ids[0])
    measured = {"brightness": signals.brightness, "sharpness": signals.sharpness, "contrast": float(signals.scene[1])}
    lost = [
        np.bincount(scene.label_hw_u8[right[0] & ~found], minlength=scene.classes)[: scene.classes]
        for found in right[1:]
    ]
    shares = tuple(100 * float(found.sum()) / pixels for found in right)
    return FrameRecord(index, sample.name, measured, shares, np.array(lost).reshape(len(lost), scene.classes))
