"""The gate of a network of several tasks: what an engine lost in each of them, against its float network."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from jetseg.data.contract import Split
from jetseg.engine.budget import agreement_violations, collapse_violations
from jetseg.engine.config import Budget
from jetseg.engine.engine import Engine
from jetseg.evaluation.accuracy import spread
from jetseg.evaluation.agreement import Agreement, agreement_of
from jetseg.evaluation.confusion import ConfusionMatrix
from jetseg.evaluation.task_budget import budgets_of, task_violations
from jetseg.evaluation.tasks import Figures, TaskMeter, make_meter, task_accuracy, task_targets, truth_of
from jetseg.manifest import Manifest
from jetseg.measured import Accuracy
from jetseg.postprocess import TaskMap, resize_task_map, same_pixels
from jetseg.preprocess import FrameU8
from jetseg.progress import track

VOID = "(void)"
Maps = Mapping[str, TaskMap]


class TaskGate:
    """Measures engines of one float network on the same frames, task by task; the float network runs once.

    Args:
        parent: The float network.
        split: The frames; tasks that it has no labels for are judged by agreement alone.
        budget: What an engine may lose.
        frames: Measure on this many of them only, spread evenly.
    """

    def __init__(self, parent: Engine, split: Split, budget: Budget, frames: int | None) -> None:
        self._manifest = parent.manifest
        self._split, self._targets = task_targets(parent.manifest, split)
        self._indices = spread(len(self._split), frames)
        self._budget = budget
        self._budgets = budgets_of(parent.manifest.outputs, budget.task_drops, budget.max_drop)
        self._parent = parent
        self._kept: list[dict[str, bytes]] = []
        self._shapes: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}
        self._before: Accuracy | None = None

    @property
    def before(self) -> Accuracy | None:
        """Figures of the float network; None without any label."""
        if not self._kept:
            figures, _ = self._run(self._parent.maps, self._manifest, "float network", keep=True)
            self._before = self._record(figures)
        return self._before

    def judge(
        self, predict: Callable[[FrameU8], Maps], manifest: Manifest, name: str
    ) -> tuple[Accuracy | None, Agreement, tuple[str, ...]]:
        """Measures an engine.

        Returns:
            Its figures, None without any label; what it shares with the float network, by task, where `percent` is that
            of the worst; and what goes beyond the budget.
        """
        before = self.before
        figures, agreements = self._run(predict, manifest, name, keep=False)
        after = self._record(figures)
        kept = {task: found.percent for task, found in agreements.items()}
        agreement = Agreement(len(self._indices), min(kept.values()), kept)
        violations = [
            f"{task}: {sentence}" for task, found in agreements.items() for sentence in collapse_violations(found)
        ]
        if before is not None and after is not None:
            violations += task_violations(self._budgets, before.tasks, after.tasks)
        violations += agreement_violations(self._budget.min_agreement, agreement)
        return after, agreement, tuple(violations)

    def _run(
        self, predict: Callable[[FrameU8], Maps], manifest: Manifest, name: str, *, keep: bool
    ) -> tuple[dict[str, Figures], dict[str, Agreement]]:
        """Runs a network on all frames: scores it, and keeps its maps or compares them with those that were kept."""
        outputs = manifest.outputs
        meters: dict[str, TaskMeter] = {
            output.label: make_meter(output)
            for output, target in zip(outputs, self._targets, strict=True)
            if target is not None
        }
        together = {output.label: _Together(output.classes) for output in outputs}
        for place, index in enumerate(track(self._indices, f"Measuring the {name}")):
            sample = self._split[index]
            found = predict(sample.image_hwc_u8)
            for output, target in zip(outputs, self._targets, strict=True):
                truth = truth_of(sample, target)
                if truth is not None:
                    meters[output.label].update(truth, found[output.label])
            if keep:
                self._kept.append({task: self._pack(task, values) for task, values in found.items()})
            else:
                for task, meter in together.items():
                    meter.update(self._unpack(task, self._kept[place][task]), found[task])
        figures = {task: meter.figures() for task, meter in meters.items()}
        agreements = {} if keep else {task: meter.agreement() for task, meter in together.items()}
        return figures, agreements

    def _pack(self, task: str, values: TaskMap) -> bytes:
        self._shapes[task] = values.shape, values.dtype
        return zlib.compress(np.ascontiguousarray(values).tobytes(), 1)

    def _unpack(self, task: str, content: bytes) -> TaskMap:
        shape, dtype = self._shapes[task]
        return np.frombuffer(zlib.decompress(content), dtype).reshape(shape)

    def _record(self, figures: Mapping[str, Figures]) -> Accuracy | None:
        if all(value is None for row in figures.values() for value in row.values()):
            return None
        return task_accuracy(figures, self._split, len(self._indices))


class _Together:
    """Counts where two networks agree in one task."""

    def __init__(self, classes: tuple[str, ...]) -> None:
        self._confusion = ConfusionMatrix((*classes, VOID), None) if classes else None
        self._same = self._pixels = self._frames = 0

    def update(self, wanted_hw: TaskMap, found_hw: TaskMap) -> None:
        """Adds a frame."""
        wanted = resize_task_map(wanted_hw, *found_hw.shape[:2])
        self._frames += 1
        if self._confusion is not None:
            void = len(self._confusion.classes) - 1
            capped: npt.NDArray[np.uint8] = np.minimum(wanted, void).astype(np.uint8)
            self._confusion.update(capped, found_hw.astype(np.uint8, copy=False))
        self._same += int(np.count_nonzero(same_pixels(found_hw, wanted)))
        self._pixels += found_hw.size

    def agreement(self) -> Agreement:
        """Returns what was counted."""
        if self._confusion is not None:
            return agreement_of(self._confusion)
        return Agreement(self._frames, 100.0 * self._same / self._pixels, {})
