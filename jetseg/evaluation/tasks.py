"""Scores each task of a network: IoU of classes, error of depth."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from jetseg.data.contract import SEGMENTATION, Sample, Split
from jetseg.data.dataset import known_targets, match_input, select_targets
from jetseg.errors import ConfigError, DataError
from jetseg.evaluation.accuracy import spread
from jetseg.evaluation.confusion import ConfusionMatrix
from jetseg.manifest import Manifest
from jetseg.measured import Accuracy
from jetseg.output_spec import OutputSpec
from jetseg.postprocess import TaskMap, resize_task_map
from jetseg.preprocess import FrameU8
from jetseg.progress import track

Figures = dict[str, float | None]
"""Metrics of one task, by name; None where nothing was labelled."""
_NEAR_RATIO = 1.25
"""Depth is near the truth if neither is so many times the other: the usual first threshold (delta 1)."""


class TaskMeter(Protocol):
    """Adds up the score of one task, frame by frame."""

    def update(self, truth_hw: npt.NDArray[Any], found_hw: TaskMap) -> None:
        """Adds a frame; what was found is brought to the size of the truth."""
        ...

    def figures(self) -> Figures:
        """Returns the score of all frames so far."""
        ...


class ClassMeter:
    """mIoU in percent; of a binary task the IoU of its second class as well.

    Args:
        spec: The output.
    """

    def __init__(self, spec: OutputSpec) -> None:
        self.confusion = ConfusionMatrix(spec.classes, spec.ignore_index)
        self._of_interest = spec.classes[1] if spec.task == "binary" else None

    def update(self, truth_hw: npt.NDArray[Any], found_hw: TaskMap) -> None:
        """Adds a frame; see `TaskMeter`."""
        found = resize_task_map(found_hw, *truth_hw.shape[:2])
        self.confusion.update(truth_hw.astype(np.uint8, copy=False), found.astype(np.uint8, copy=False))

    def figures(self) -> Figures:
        """Returns "miou", and "iou" of a binary task, in percent."""
        score = self.confusion.score()
        found: Figures = {"miou": score.miou}
        if self._of_interest is not None:
            found["iou"] = score.per_class_iou[self._of_interest]
        return found


class DepthMeter:
    """Errors of depth over all measured pixels within the output's range (Eigen et al., arXiv:1406.2283).

    Args:
        spec: The output.
    """

    def __init__(self, spec: OutputSpec) -> None:
        if spec.depth is None:
            raise TypeError("only a depth output has an error of depth")
        self._range = spec.depth.low, spec.depth.high
        self._pixels = 0
        self._sums = np.zeros(3)

    def update(self, truth_hw: npt.NDArray[Any], found_hw: TaskMap) -> None:
        """Adds a frame; see `TaskMeter`. Truth that is not a number, or out of range, does not count."""
        found = resize_task_map(found_hw, *truth_hw.shape[:2]).astype(np.float64)
        measured = (truth_hw >= self._range[0]) & (truth_hw <= self._range[1])
        truth, found = truth_hw[measured].astype(np.float64), found[measured]
        error, near = found - truth, np.maximum(found / truth, truth / found) < _NEAR_RATIO
        self._sums += np.square(error).sum(), (np.abs(error) / truth).sum(), np.count_nonzero(near)
        self._pixels += truth.size

    def figures(self) -> Figures:
        """Returns "rmse" in the output's unit, "abs_rel", and "delta1" in percent: what is less than 25 % off."""
        if not self._pixels:
            return {"rmse": None, "abs_rel": None, "delta1": None}
        square, relative, near = self._sums / self._pixels
        return {"rmse": float(np.sqrt(square)), "abs_rel": float(relative), "delta1": float(100 * near)}


def make_meter(spec: OutputSpec) -> TaskMeter:
    """Returns what scores an output.

    >>> meter = make_meter(OutputSpec(name="depth", task="depth"))
    >>> meter.update(np.array([[10.0, np.nan]]), np.array([[11.0, 50.0]]))
    >>> {name: round(value, 3) for name, value in meter.figures().items()}
    {'rmse': 1.0, 'abs_rel': 0.1, 'delta1': 100.0}
    """
    return DepthMeter(spec) if spec.task == "depth" else ClassMeter(spec)


def has_tasks(manifest: Manifest) -> bool:
    """Tells whether a network is scored task by task: it has several outputs, or one that is a mask or depth."""
    return len(manifest.outputs) > 1 or manifest.output.task != "segmentation"


def has_one_class_map(manifest: Manifest) -> bool:
    """Tells whether a network gives one map of classes: those of a mask count, and neither several nor depth."""
    return len(manifest.outputs) == 1 and manifest.output.task != "depth"


def refuse_several(manifest: Manifest, what: str) -> None:
    """Refuses a network of several tasks, or of depth, where only one map of classes is looked at.

    Raises:
        ConfigError: It is one.
    """
    if not has_one_class_map(manifest):
        listed = ", ".join(output.label for output in manifest.outputs)
        raise ConfigError(f"{what} serves networks with one map of classes, and this one has {listed}.")


def target_names(manifest: Manifest) -> tuple[str, ...]:
    """Returns what a network's tasks are called in a dataset: the main one, with classes, by its labels."""
    names = [output.label for output in manifest.outputs]
    if manifest.output.task == "segmentation":
        names[0] = SEGMENTATION
    return tuple(names)


def task_targets(manifest: Manifest, split: Split) -> tuple[Split, tuple[str | None, ...]]:
    """Has a split give the labels of a network's tasks, as far as it has them.

    Returns:
        The split, and for each output the name of its target; None for one that the split has no labels for.

    Raises:
        DataError: The classes of a target are not those of the output.
    """
    known = known_targets(split)
    names = [name if name in known else None for name in target_names(manifest)]
    if names[0] is None and split.classes and manifest.classes == split.classes:
        names[0] = SEGMENTATION  # a mask by another name
    wanted = tuple(names)
    split, outputs = select_targets(match_input(split, manifest.input), [name for name in wanted if name])
    described = {output.name: output for output in outputs}
    for name, output in zip(wanted, manifest.outputs, strict=True):
        if name is not None and described[name].classes != output.classes:
            raise DataError(
                f"The classes of {output.label} are {', '.join(output.classes)}; those of {split.spec} are "
                f"{', '.join(described[name].classes)}.",
                "Use the dataset that the network was trained for, or correct the manifest.",
            )
    return split, wanted


def truth_of(sample: Sample, target: str | None) -> npt.NDArray[Any] | None:
    """Returns what a frame's label says of a target; None where it says nothing."""
    if target is None:
        return None
    return sample.label_hw_u8 if target == SEGMENTATION else sample.targets.get(target)


def measure_tasks(
    predict: Callable[[FrameU8], Mapping[str, TaskMap]],
    manifest: Manifest,
    split: Split,
    *,
    frames: int | None = None,
    description: str = "Evaluating",
) -> dict[str, Figures]:
    """Scores all tasks of a network on a split, at the resolution of the labels.

    Args:
        predict: Frame (uint8, BGR, H x W x 3) to the map of each task, as `jetseg.engine.engine.Engine.maps`.
        manifest: The network's manifest.
        split: The split; tasks that it has no labels for are left out.
        frames: Score only this many frames, spread evenly over the split; all by default.
        description: Text of the progress bar.

    Returns:
        The figures of each task, by its name.
    """
    split, targets = task_targets(manifest, split)
    meters = {
        output.label: (make_meter(output), target)
        for output, target in zip(manifest.outputs, targets, strict=True)
        if target is not None
    }
    for index in track(spread(len(split), frames), description):
        sample = split[index]
        found = predict(sample.image_hwc_u8)
        for name, (meter, target) in meters.items():
            truth = truth_of(sample, target)
            if truth is not None:
                meter.update(truth, found[name])
    return {name: meter.figures() for name, (meter, _) in meters.items()}


def task_accuracy(figures: Mapping[str, Figures], source: Split, frames: int) -> Accuracy:
    """Returns the record of the figures of several tasks; mIoU is that of the first one that has it."""
    rounded = {
        name: {key: None if value is None else round(value, 4) for key, value in row.items()}
        for name, row in figures.items()
    }
    return Accuracy(
        data=source.spec.split(":", 1)[0],
        split=source.split,
        frames=frames,
        miou=next((row["miou"] for row in rounded.values() if "miou" in row), None),
        pixel_accuracy=None,
        per_class_iou={},
        tasks=rounded,
    )


def mean_score(figures: Mapping[str, Figures]) -> float | None:
    """Returns one number for all tasks, in percent: the mean of mIoU, IoU of binary tasks, and delta 1 of depth.

    >>> mean_score({"seg": {"miou": 60.0}, "lane": {"miou": 70.0, "iou": 50.0}, "depth": {"rmse": 3.0, "delta1": 91.0}})
    67.0
    """
    each = [next((row[name] for name in ("iou", "delta1", "miou") if name in row), None) for row in figures.values()]
    known = [value for value in each if value is not None]
    return sum(known) / len(known) if known else None
