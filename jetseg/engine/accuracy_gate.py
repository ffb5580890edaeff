"""The gate: an engine that lost too much accuracy against its float network is not handed over."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from jetseg.config import changed
from jetseg.data.contract import Split
from jetseg.engine.budget import accuracy_violations, agreement_violations, check_classes_of
from jetseg.engine.config import Budget
from jetseg.engine.engine import Engine, open_engine
from jetseg.evaluation.accuracy import as_record, check_frames, measure_accuracy
from jetseg.evaluation.agreement import Agreement, AgreementMeter
from jetseg.measured import Accuracy
from jetseg.network import Network


@dataclass(frozen=True)
class GateResult:
    """What was measured; accuracies with labels, agreement without.

    Attributes:
        before: Accuracy of the float network.
        after: Accuracy of the engine; None if nothing here computes its precision.
        agreement: What the engine shares with the float network; None likewise.
        violations: What goes beyond the budget.
    """

    before: Accuracy | None = None
    after: Accuracy | None = None
    agreement: Agreement | None = None
    violations: tuple[str, ...] = ()

    @property
    def measured(self) -> bool:
        """Whether anything is known about the engine."""
        return self.after is not None or self.agreement is not None


class AccuracyGate:
    """Measures engines of one float network on the same frames; the float network is measured once.

    Args:
        network: The float network.
        split: The frames; without labels the pixels are counted that keep the float network's class.
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
        check_classes_of(budget, network.manifest.classes)
        self.split, self._network, self._budget = split, network, budget
        self._frames, self._threads = frames, threads
        self._labelled = check_frames(network.manifest.classes, split, frames=frames, labels="optional")
        self._open_parent().close()

    @cached_property
    def before(self) -> Accuracy | None:
        """Accuracy of the float network; None without labels."""
        if not self._labelled:
            return None
        with self._open_parent() as parent:
            return self._measure(parent, "float network")

    def judge(self, engine: Engine, name: str, *, simulated: bool = False) -> GateResult:
        """Measures an engine.

        Args:
            engine: The engine.
            name: What it is called while it is measured.
            simulated: Whether it stands for an engine that cannot run here.
        """
        if self.before is None:
            agreement = self._agreement(engine)
            return GateResult(
                agreement=agreement, violations=agreement_violations(self._budget.min_agreement, agreement)
            )
        after = changed(self._measure(engine, name), simulated=simulated)
        return GateResult(self.before, after, violations=accuracy_violations(self._budget, self.before, after))

    def judge_as_float(self) -> GateResult:
        """Judges an engine that computes what the float network does, and cannot run here."""
        if self.before is None:
            with self._open_parent() as parent:
                return self.judge(parent, "float network")
        return GateResult(self.before, changed(self.before, simulated=True))

    def _open_parent(self) -> Engine:
        return open_engine(self._network, threads=self._threads)

    def _agreement(self, engine: Engine) -> Agreement:
        with self._open_parent() as parent:
            meter = AgreementMeter(engine.segment, parent.segment, engine.manifest, parent.manifest)
            meter.run(self.split, self._frames)
        return meter.agreement

    def _measure(self, engine: Engine, name: str) -> Accuracy:
        score = measure_accuracy(
            engine.segment, engine.manifest, self.split, frames=self._frames, description=f"Measuring the {name}"
        )
        return as_record(score, self.split)
