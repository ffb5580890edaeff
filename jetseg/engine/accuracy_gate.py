"""What a built engine lost against its float network, and whether that is too much."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from jetseg.data.contract import SegmentationDataset
from jetseg.engine.budget import Budget, broken_agreement, broken_budgets
from jetseg.engine.build_config import BuildConfig
from jetseg.engine.contract import BuildReport, Runner, Segmenter
from jetseg.engine.opening import open_runner
from jetseg.evaluate.accuracy import as_record, measure_accuracy
from jetseg.evaluate.agreement import Agreement, AgreementMeter
from jetseg.manifest import Accuracy


@dataclass(frozen=True)
class Judgement:
    """What was measured; accuracies with labels, agreement without.

    Attributes:
        before: Accuracy of the float network.
        after: Accuracy of the engine; None if nothing here computes its precision.
        agreement: What the engine shares with the float network; None likewise.
        broken: What goes beyond the budget.
    """

    before: Accuracy | None = None
    after: Accuracy | None = None
    agreement: Agreement | None = None
    broken: tuple[str, ...] = ()

    @property
    def measured(self) -> bool:
        """Whether anything is known about the engine."""
        return self.after is not None or self.agreement is not None


def judge(
    config: BuildConfig,
    engine: Path,
    report: BuildReport,
    ranges_file: Path | None,
    dataset: SegmentationDataset,
    before: Accuracy | None = None,
) -> Judgement:
    """Measures an engine and its float network on the same frames.

    Args:
        config: What was built.
        engine: The engine.
        report: What the backend said about it.
        ranges_file: Its ranges, to simulate it with where it cannot run.
        dataset: The frames.
        before: Accuracy of the float network, where it was measured already.
    """
    if len(dataset) and dataset[0].label_hw_u8 is None:
        agreement = _agreement(config, engine, report, ranges_file, dataset)
        broken = broken_agreement(config.min_agreement, agreement) if agreement else ()
        return Judgement(agreement=agreement, broken=broken)
    before = before or _measure(open_parent(config), config, dataset, "float network")
    after = _accuracy(config, engine, report, before, ranges_file, dataset)
    return Judgement(before, after, broken=broken_budgets(budget_of(config), before, after) if after else ())


def budget_of(config: BuildConfig) -> Budget:
    """Returns what an engine may lose of its accuracy."""
    return Budget(config.max_drop, config.max_class_drop, config.class_budget)


def open_parent(config: BuildConfig) -> Runner:
    """Opens the float network."""
    return open_runner(config.model, manifest_file=config.manifest, threads=config.threads)


def _accuracy(
    config: BuildConfig,
    engine: Path,
    report: BuildReport,
    before: Accuracy,
    ranges_file: Path | None,
    dataset: SegmentationDataset,
) -> Accuracy | None:
    """Measures an engine; one that cannot run here is judged by exact simulation, None where there is none."""
    if report.not_run_here is not None and config.precision == "fp32":
        return before.model_copy(update={"simulated": True})
    runner = _open_engine(config, engine, report, ranges_file)
    if runner is None:
        return None
    simulated = report.not_run_here is not None
    name = "engine, simulated" if simulated else f"{config.precision} engine"
    return _measure(runner, config, dataset, name).model_copy(update={"simulated": simulated})


def _agreement(
    config: BuildConfig, engine: Path, report: BuildReport, ranges_file: Path | None, dataset: SegmentationDataset
) -> Agreement | None:
    """Counts the pixels that keep the float network's class; see `_accuracy` for an engine that cannot run here."""
    with ExitStack() as stack:
        runner = _open_engine(config, engine, report, ranges_file)
        if runner is None:
            return None
        stack.callback(runner.close)
        parent = open_parent(config)
        stack.callback(parent.close)
        meter = AgreementMeter(Segmenter(runner), Segmenter(parent), runner.manifest, parent.manifest)
        meter.run(dataset, config.eval_frames)
    return meter.agreement


def _open_engine(config: BuildConfig, engine: Path, report: BuildReport, ranges_file: Path | None) -> Runner | None:
    """Opens an engine; in place of one that cannot run here its exact simulation, None where there is none."""
    if report.not_run_here is None:
        return open_runner(engine, threads=config.threads)
    if config.precision == "fp32":
        return open_parent(config)
    if ranges_file is None:
        return None
    from jetseg.engine.simulation import simulate_tensorrt  # needs ONNX Runtime, which a Jetson may not have

    return simulate_tensorrt(
        config.model,
        ranges_file,
        keep_float=frozenset(config.keep_float),
        manifest_file=config.manifest,
        threads=config.threads,
    )


def _measure(runner: Runner, config: BuildConfig, dataset: SegmentationDataset, name: str) -> Accuracy:
    """Measures a network, and closes it."""
    try:
        score = measure_accuracy(
            Segmenter(runner),
            runner.manifest,
            dataset,
            frames=config.eval_frames,
            description=f"Measuring the {name}",
        )
    finally:
        runner.close()
    return as_record(score, dataset)
