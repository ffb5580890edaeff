"""Learns at build time how right a network is when its frames are worse than those that it was made with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from jetseg.data.contract import Split
from jetseg.data.corruptions import SEVERITIES, corrupt, corruption_names
from jetseg.data.dataset import match_input
from jetseg.errors import DataError
from jetseg.evaluation.accuracy import check_frames
from jetseg.evaluation.confusion import ConfusionMatrix
from jetseg.evaluation.estimator_fit import KnownWindow, fit_estimator
from jetseg.evaluation.evidence import evidence_map, frame_evidence, joined
from jetseg.evaluation.profile import scores_of
from jetseg.evaluation.signals import on_grid
from jetseg.evaluation.temperature import fit_temperature
from jetseg.manifest import Manifest
from jetseg.measured import Estimator
from jetseg.postprocess import ClassMap, class_map, resize_class_map
from jetseg.preprocess import FrameU8, NetworkInput, Preprocessor, resize_frame
from jetseg.progress import track

WINDOW = 30
"""Frames that an estimate is for."""
CLEAN = "clean"
NO_CHANNEL = 255
"""More than class maps can tell apart."""
FRAMES = 240
"""How many different ones an estimator is learned from."""
LEAST_FRAMES = 2 * WINDOW
"""With fewer, no scenes can be left out."""
Alter = Callable[[FrameU8, str, int, int], FrameU8]
"""Corrupts a frame: by which corruption, how severely, drawn by which number."""


def learn_estimator(
    infer: Callable[[NetworkInput], npt.NDArray[Any]],
    manifest: Manifest,
    dataset: Split,
    *,
    frames: int = FRAMES,
    parent: Callable[[FrameU8], ClassMap] | None = None,
) -> Estimator | None:
    """Runs a network on frames as they are, and corrupted in ten ways and five severities, and fits an estimator.

    Each corruption at each severity takes 30 frames that follow each other, as a window of a drive does, so 1,500 runs
    of the network on top of `frames`.

    Args:
        infer: The engine: network input to raw output.
        manifest: Its manifest.
        dataset: Frames, best with labels.
        frames: How many different ones, in runs of 30 that are spread evenly.
        parent: What the engine was made from: without labels, its class maps of the clean frames are the truth.

    Returns:
        The estimator; None with less than 60 frames, or neither labels nor a parent.
    """
    runs = picked_runs(len(dataset), frames)
    if len(runs) * WINDOW < LEAST_FRAMES:
        return None
    labelled = check_frames(manifest.classes, dataset, frames=frames, labels="optional")
    if not (labelled or parent):
        return None
    split = match_input(dataset, manifest.input)
    observer = WindowObserver(infer, manifest, split, None if labelled else parent)
    observer.fit_temperature([index for run in runs for index in run])
    asked = known_conditions(runs)
    windows = [observer.observe(*window) for window in track(asked, "Learning to estimate")]
    return fit_estimator(
        windows,
        manifest.classes,
        data=dataset.spec.split(":", 1)[0],
        split=dataset.split,
        target="labels" if labelled else "agreement",
        temperature=observer.temperature,
    )


def picked_runs(length: int, frames: int) -> list[range]:
    """Returns runs of neighboring frames, spread evenly over a split, that do not overlap.

    Neighbors, because a window of a drive holds one scene: of frames from everywhere, each window would be the mean.

    >>> picked_runs(100, 70)
    [range(0, 30), range(70, 100)]
    """
    count = min(length, frames) // WINDOW
    return [
        range(start, start + WINDOW) for start in (k * (length - WINDOW) // max(1, count - 1) for k in range(count))
    ]


def known_conditions(runs: Sequence[Sequence[int]]) -> list[tuple[Sequence[int], str, int]]:
    """Returns which frames are looked at under which corruption and severity: every run as it is, then in turns."""
    clean = [(run, CLEAN, 0) for run in runs]
    return clean + [
        (runs[(place + severity + 1) % len(runs)], kind, severity)
        for severity in SEVERITIES
        for place, kind in enumerate(corruption_names())
    ]


@dataclass(frozen=True)
class _Seen:
    """What came of one frame: its class map as evidence needs it, its scores on a grid, and how right it is."""

    small_ids_hw_u8: ClassMap
    scores: npt.NDArray[np.float32] | None
    confusion: ConfusionMatrix


class WindowObserver:
    """Runs a network on windows of which the truth is known.

    Args:
        infer: The network.
        manifest: Its manifest.
        dataset: Frames.
        parent: Its class maps of the frames as they are stand for the labels; None where there are labels.

    Attributes:
        temperature: What scores are divided by.
    """

    def __init__(
        self,
        infer: Callable[[NetworkInput], npt.NDArray[Any]],
        manifest: Manifest,
        dataset: Split,
        parent: Callable[[FrameU8], ClassMap] | None = None,
    ) -> None:
        self.temperature = 1.0
        self._infer, self._manifest, self._dataset, self._parent = infer, manifest, dataset, parent
        self._preprocess = Preprocessor(manifest.input)
        self._ignored = manifest.num_classes if parent else dataset.ignore_index
        self._truths: dict[int, ClassMap] = {}
        self._clean: dict[int, _Seen] = {}

    def fit_temperature(self, indices: Sequence[int]) -> None:
        """Learns the temperature from frames as they are, which `observe` then knows; without scores it stays 1."""
        if self._manifest.output.kind != "logits":
            return
        scores, truths = [], []
        for index in track(indices, "Fitting the temperature"):
            image, truth = self._frame(index)
            ids, seen = self._look(image, truth)
            self._clean[index] = seen
            scores.append(np.asarray(seen.scores, dtype=np.float16))
            truths.append(on_grid(resize_class_map(self._scored(truth), *ids.shape)).ravel())
        self.temperature = fit_temperature(scores, truths)

    def observe(self, indices: Sequence[int], kind: str, severity: int, alter: Alter = corrupt) -> KnownWindow:
        """Runs the network on some frames, one corruption on all of them.

        Args:
            indices: Of the frames.
            kind: The corruption, or "clean".
            severity: Of the corruption.
            alter: Does it.
        """
        classes = self._manifest.num_classes
        confusion = ConfusionMatrix(self._manifest.classes, self._ignored)
        parts = []
        for index in indices:
            if kind == CLEAN and index in self._clean:
                seen = self._clean[index]
            else:
                image, truth = self._frame(index)
                _, seen = self._look(image if kind == CLEAN else alter(image, kind, severity, index), truth)
            parts.append(frame_evidence(seen.small_ids_hw_u8, seen.scores, classes, self.temperature))
            confusion.add(seen.confusion)
        return KnownWindow(kind, indices[0], joined(parts), confusion.score())

    def _look(self, image: FrameU8, truth: ClassMap) -> tuple[ClassMap, _Seen]:
        """Runs the network on one frame; returns its class map, and what is kept of it."""
        output = np.asarray(self._infer(self._preprocess(image)))
        ids = class_map(output, self._manifest)
        confusion = ConfusionMatrix(self._manifest.classes, self._ignored)
        confusion.update(truth, resize_class_map(ids, *truth.shape))
        return ids, _Seen(evidence_map(ids), scores_of(output, self._manifest), confusion)

    def _frame(self, index: int) -> tuple[FrameU8, ClassMap]:
        """Returns a frame at the network's size, so that a severity means the same on all, and its truth."""
        sample, spec = self._dataset[index], self._manifest.input
        image = resize_frame(sample.image_hwc_u8, spec.height, spec.width)
        if self._parent is not None:
            if index not in self._truths:
                self._truths[index] = self._parent(image)
            return image, self._truths[index]
        if sample.label_hw_u8 is None:
            raise DataError(f"{self._dataset.spec} ({self._dataset.split}): frame {sample.name} has no label.")
        return image, sample.label_hw_u8

    def _scored(self, truth: ClassMap) -> ClassMap:
        """Gives pixels that are not scored an id that no channel has."""
        if self._ignored is None:
            return truth
        return np.where(truth == self._ignored, np.uint8(NO_CHANNEL), truth)
