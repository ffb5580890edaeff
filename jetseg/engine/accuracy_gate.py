"""The gate: an engine that lost too much accuracy against its float network is not handed over."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from jetseg.config import changed
from jetseg.data.contract import Split
from jetseg.engine.budget import (
    accuracy_violations,
    agreement_violations,
    check_budget,
    check_volume_drops,
    collapse_violations,
    task_metrics,
    volume_violations,
)
from jetseg.engine.config import Budget
from jetseg.engine.engine import Engine, open_engine
from jetseg.engine.task_gate import TaskGate
from jetseg.evaluation.accuracy import as_record, check_frames, measure_accuracy, spread
from jetseg.evaluation.agreement import Agreement, AgreementMeter
from jetseg.evaluation.recorded_maps import Predict, RecordedMaps
from jetseg.evaluation.task_budget import budgets_of, task_violations
from jetseg.evaluation.tasks import has_tasks
from jetseg.manifest import Manifest
from jetseg.measured import Accuracy
from jetseg.network import Network
from jetseg.progress import track


@dataclass(frozen=True)
class GateResult:
    """What was measured: agreement always, accuracies with labels.

    Attributes:
        before: Accuracy of the float network; None without labels.
        after: Accuracy of the engine; None likewise, and if nothing here computes its precision.
        agreement: What the engine shares with the float network; None if nothing here computes its precision.
        violations: What goes beyond the budget.
    """

    before: Accuracy | None = None
    after: Accuracy | None = None
    agreement: Agreement | None = None
    violations: tuple[str, ...] = ()

    @property
    def measured(self) -> bool:
        """Whether anything is known about the engine."""
        return self.agreement is not None


class AccuracyGate:
    """Measures engines of one float network on the same frames; the float network runs once.

    The pixels that keep the float network's class are counted; with labels, mIoU and the IoU of each class as well.

    Args:
        network: The float network.
        split: The frames.
        budget: What an engine may lose.
        frames: Measure on this many of them only, spread evenly.
        threads: Threads of a CPU backend.

    Raises:
        ConfigError: The budget names a class that the network does not have.
        DataError: The labels are those of other classes, or there are no frames.
        MissingDependencyError: What runs the float network is not installed.
    """

    def __init__(
        self, network: Network, split: Split, budget: Budget, frames: int | None = None, threads: int | None = None
    ) -> None:
        check_budget(budget, network.manifest)
        check_volume_drops(budget, split, frames)
        self.split, self._network, self._budget = split, network, budget
        self._frames = frames
        self._tasks: TaskGate | None = None
        if has_tasks(network.manifest):
            self._tasks = TaskGate(open_engine(network, threads=threads), split, budget, frames)
            return
        self._labelled = check_frames(network.manifest.classes, split, frames=frames, labels="optional")
        self._parent = open_engine(network, threads=threads)  # before anything long, to see that it can be

    @property
    def before(self) -> Accuracy | None:
        """Accuracy of the float network; None without labels."""
        return self._float[0] if self._tasks is None else self._tasks.before

    def judge(self, engine: Engine, name: str, *, simulated: bool = False) -> GateResult:
        """Measures an engine.

        Args:
            engine: The engine.
            name: What it is called while it is measured.
            simulated: Whether it stands for an engine that cannot run here.
        """
        if self._tasks is not None:
            after, agreement, violations = self._tasks.judge(engine.maps, engine.manifest, name)
            return GateResult(self.before, after and changed(after, simulated=simulated), agreement, violations)
        return self._judge(engine.segment, engine.manifest, name, simulated=simulated)

    def judge_as_float(self) -> GateResult:
        """Judges an engine that computes what the float network does, and cannot run here."""
        if self._tasks is not None:
            return GateResult(self.before, self.before and changed(self.before, simulated=True))
        return self._judge(self._float[1].replay(), self._network.manifest, "float network", simulated=True)

    def _judge(self, predict: Predict, manifest: Manifest, name: str, *, simulated: bool) -> GateResult:
        before, recorded = self._float
        meter = AgreementMeter(predict, recorded.replay(), manifest, self._network.manifest)
        if before is None:
            meter.run(self.split, self._frames)
        after = before and changed(self._measure(meter, manifest, name), simulated=simulated)
        found = agreement_violations(self._budget.min_agreement, meter.agreement)
        if before is not None and after is not None:
            found = (
                accuracy_violations(self._budget, before, after)
                + self._further(before, after)
                + volume_violations(self._budget, before, after)
                + found
            )
        return GateResult(before, after, meter.agreement, collapse_violations(meter.agreement) + found)

    def _further(self, before: Accuracy, after: Accuracy) -> tuple[str, ...]:
        """Returns what goes beyond budgets that were given by metric, or stand in the manifest."""
        output = self._network.manifest.output
        asked = task_metrics(self._budget, self._network.manifest)
        if not (asked or output.budget):
            return ()
        budgets = budgets_of((output,), asked, self._budget.max_drop)
        figures = [
            {output.label: {"miou": found.miou, "iou": found.per_class_iou.get(output.classes[-1])}}
            for found in (before, after)
        ]
        return task_violations(budgets, *figures)

    @cached_property
    def _float(self) -> tuple[Accuracy | None, RecordedMaps]:
        """Accuracy of the float network, None without labels, and its class maps."""
        recorded = RecordedMaps()
        with self._parent as parent:
            predict = recorded.record(parent.segment)
            if not self._labelled:
                for index in track(spread(len(self.split), self._frames), "Running the float network"):
                    predict(self.split[index].image_hwc_u8)
                return None, recorded
            return self._measure(predict, parent.manifest, "float network"), recorded

    def _measure(self, predict: Predict, manifest: Manifest, name: str) -> Accuracy:
        score = measure_accuracy(
            predict, manifest, self.split, frames=self._frames, description=f"Measuring the {name}"
        )
        return as_record(score, self.split)
