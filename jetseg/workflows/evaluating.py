"""How accurate a network is, however it runs."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jetseg.config import changed, validate_config
from jetseg.data.contract import Split
from jetseg.data.dataset import Dataset, open_dataset
from jetseg.engine.config import Budget
from jetseg.engine.engine import Engine
from jetseg.engine.simulation import simulate_litert, simulate_tensorrt
from jetseg.engine.task_gate import TaskGate
from jetseg.errors import ConfigError, DataError
from jetseg.evaluation.accuracy import as_record, measure_accuracy, spread
from jetseg.evaluation.agreement import Agreement, AgreementMeter
from jetseg.evaluation.config import EvaluateConfig
from jetseg.evaluation.confusion import Score
from jetseg.evaluation.tasks import has_one_class_map, has_tasks, measure_tasks, task_accuracy
from jetseg.evaluation.volumes import CaseScore
from jetseg.manifest import Manifest
from jetseg.measured import Accuracy
from jetseg.network import Network
from jetseg.progress import ProgressCallback, report_progress
from jetseg.provenance import device_name, toolchain
from jetseg.quantization.config import Policy
from jetseg.quantization.ranges import Ranges
from jetseg.report.rows import backend_of
from jetseg.workflows.opening import as_ranges, enter_engine

_LOG = logging.getLogger(__name__)

Simulation = Literal["tensorrt", "litert"]
"""Backends whose arithmetic can be simulated."""


@dataclass(frozen=True)
class Evaluation:
    """What a network scored.

    Attributes:
        accuracy: IoU of each class, mIoU and pixel accuracy, in percent; None where the frames have no labels.
        agreement: Pixels that get the class that a reference gives them, in percent; None without a reference. Of
            several tasks that of the one that agrees least, and under `kept` that of each; depth agrees within 5 %.
        conditions: Data, split, backend, precision, device and toolchain, as figures are quoted with them.
        cases: What was found in each volume, by organ; empty where there are none.
        frames_not_finite: Frames in which the network or the reference gave NaN or infinity as scores.
    """

    accuracy: Accuracy | None
    agreement: Agreement | None
    conditions: dict[str, Any]
    frames_not_finite: int = 0
    cases: tuple[CaseScore, ...] = ()

    @property
    def miou(self) -> float | None:
        """Mean of the IoU of all classes, in percent; None where the frames have no labels."""
        return self.accuracy.miou if self.accuracy else None


def evaluate(
    engine: Engine | Network | Path | str,
    *,
    data: Dataset | str,
    reference: Engine | Network | Path | str | None = None,
    simulate: Simulation | None = None,
    ranges: Ranges | Path | str | None = None,
    placement: Policy | None = None,
    progress: ProgressCallback | None = None,
    **settings: Any,  # noqa: ANN401 - checked by the model
) -> Evaluation:
    """Scores a network on labelled frames: mIoU, IoU and Dice of each class, pixel accuracy, all in percent.

    One confusion matrix is summed over the whole split, at the resolution of the labels; mIoU is the mean of its IoU
    per class. Pixels with the ignored label are not scored; a void prediction on a labelled pixel is an error.

    With a reference the pixels that both give the same class are counted as well; of frames without labels only that.

    Args:
        engine: Engine, ONNX file or checkpoint: open, or by its path, or the name of one that comes with jetseg. What
            is open already stays open.
        data: Frames, as a spec or opened.
        reference: Another network of the same classes, as its float parent; for a simulation the network itself, unless
            another one is given.
        simulate: Score the float network as this backend would run it in INT8, computed exactly.
        ranges: Its ranges, for a simulation.
        placement: Placement of quantizers to simulate; by default that of the ranges.
        progress: Is told how the work goes on.
        settings: Fields of `jetseg.evaluation.config.EvaluateConfig`: `split="val"`, `frames=None`, `threads=None`.

    Raises:
        ConfigError: Settings are wrong, or a simulation lacks ranges.
        DataError: The network's classes are not those of the data, or frames have no labels and there is no reference.
        JetsegError: The network is damaged, or a library is missing.

    Example:
        ```python
        with jetseg.open_engine("student.int8.onnx") as engine:
            result = jetseg.evaluate(engine, data="camvid:data/camvid", split="test", reference="student.onnx")
        print(result.miou, result.accuracy.per_class_iou["pedestrian"], result.agreement.percent)
        ```
    """
    config = validate_config(EvaluateConfig, settings)
    dataset = open_dataset(data)
    split = dataset.split(config.split)
    with report_progress(progress), ExitStack() as opened:
        if simulate is None:
            scored = enter_engine(opened, engine, threads=config.threads)
        else:
            known = _open_ranges(engine, ranges)
            scored = opened.enter_context(_simulated(simulate, known, placement, config.threads))
            reference = reference or known.network
        other = None if reference is None else enter_engine(opened, reference, threads=config.threads)
        engines = {opened_engine for opened_engine in (scored, other) if opened_engine is not None}
        before = sum(opened_engine.frames_not_finite for opened_engine in engines)
        score, accuracy = None, None
        if has_tasks(scored.manifest):
            accuracy, agreement = _measure_tasks(scored, other, split, config.frames)
        else:
            score, agreement = _measure(scored, other, split, config.frames)
        not_finite = sum(opened_engine.frames_not_finite for opened_engine in engines) - before
    accuracy = as_record(score, split) if score else accuracy
    if accuracy:
        accuracy = changed(accuracy, simulated=simulate is not None)
    conditions = {
        "data": dataset.spec,
        "split": config.split,
        "backend": backend_of(scored.manifest),
        "precision": scored.manifest.precision,
        "device": device_name(),
        "toolchain": toolchain(),
    }
    if not_finite:
        _LOG.warning(
            "In %d frames scores were not finite numbers: class maps and figures mean nothing there.", not_finite
        )
    return Evaluation(accuracy, agreement, conditions, not_finite, score.cases if score else ())


def _simulated(backend: Simulation, ranges: Ranges, placement: Policy | None, threads: int | None) -> Engine:
    if backend == "tensorrt":
        return simulate_tensorrt(ranges, placement=placement, threads=threads)
    if placement is not None:
        raise ConfigError("LiteRT's quantizers stand in one way only.", "Leave out `placement`.")
    return simulate_litert(ranges, threads=threads)


def _open_ranges(engine: Engine | Network | Path | str, ranges: Ranges | Path | str | None) -> Ranges:
    """Opens the ranges of the network that is to be simulated."""
    if ranges is None:
        raise ConfigError("`simulate` needs the network's ranges.", "Give `ranges`.")
    network = engine.network if isinstance(engine, Engine) else engine
    if network is None:
        raise ConfigError("This engine was opened from no file, so it has no ranges.", "Give the float network.")
    return as_ranges(ranges, network)


def _measure_tasks(
    engine: Engine, other: Engine | None, split: Split, frames: int | None
) -> tuple[Accuracy | None, Agreement | None]:
    """Returns the figures of each task, and the agreement with another network, if there is one; see `TaskGate`."""
    count = len(spread(len(split), frames))
    if other is None:
        return task_accuracy(measure_tasks(engine.maps, engine.manifest, split, frames=frames), split, count), None
    if not has_one_class_map(engine.manifest):
        _check_same_tasks(engine.manifest, other.manifest)
        accuracy, agreement, _ = TaskGate(other, split, Budget(), frames).judge(engine.maps, engine.manifest, "network")
        return accuracy, agreement
    meter = AgreementMeter(engine.segment, other.segment, engine.manifest, other.manifest)
    name = engine.manifest.output.label
    figures = measure_tasks(lambda frame: {name: meter(frame)}, engine.manifest, split, frames=frames)
    return task_accuracy(figures, split, count), meter.agreement


def _check_same_tasks(manifest: Manifest, other: Manifest) -> None:
    mine, theirs = ({output.label: output.classes for output in each.outputs} for each in (manifest, other))
    if mine != theirs:
        raise DataError(
            f"The network has the tasks {', '.join(mine)}, and the reference {', '.join(theirs)}, or other classes.",
            "Compare networks of the same tasks and classes.",
        )


def _measure(
    engine: Engine, other: Engine | None, split: Split, frames: int | None
) -> tuple[Score | None, Agreement | None]:
    """Returns what was scored, if there are labels, and the agreement with another network, if there is one."""
    if other is None:
        return measure_accuracy(engine.segment, engine.manifest, split, frames=frames), None
    meter = AgreementMeter(engine.segment, other.segment, engine.manifest, other.manifest)
    if split[0].label_hw_u8 is None:
        meter.run(split, frames)
        return None, meter.agreement
    score = measure_accuracy(meter, engine.manifest, split, frames=frames)
    return score, meter.agreement
