"""From a float network to one that was trained under the rounding of its INT8 engine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jetseg.compress.qat.config import QatConfig
from jetseg.network import Network
from jetseg.progress import ProgressCallback, report_progress
from jetseg.storage import check_output
from jetseg.workflows.config import StartRanges, validate_each
from jetseg.workflows.exporting import export
from jetseg.workflows.opening import as_network, as_ranges
from jetseg.workflows.preflight import check_qat

if TYPE_CHECKING:
    from jetseg.data.dataset import Dataset
    from jetseg.quantization.ranges import Ranges


@dataclass(frozen=True)
class QatResult:
    """What quantization-aware training made.

    Attributes:
        qdq: Q/DQ network for TensorRT.
        float_twin: The same weights without quantizers, which engines are built from.
        ranges: Its ranges, as trained.
        best_epoch: The epoch that was kept; 0 is before training.
        miou: mIoU under exact fake quantization on the validation split, in percent; None without labels.
    """

    qdq: Network
    float_twin: Network
    ranges: Ranges
    best_epoch: int
    miou: float | None


def quantization_aware_train(
    network: Network | Path | str,
    *,
    data: Dataset | str,
    out: Path | str,
    ranges: Ranges | Path | str | None = None,
    progress: ProgressCallback | None = None,
    **settings: Any,  # noqa: ANN401 - checked by the models
) -> QatResult:
    """Trains a network under the rounding of its INT8 engine; the float network teaches.

    A checkpoint is exported first, and a network without ranges calibrated. Quantizers stand where the engine will
    have them. The untrained network competes: if no epoch is better on the validation split, it is kept. Called again
    with the same settings, an interrupted run goes on after its last finished epoch.

    Args:
        network: Float ONNX file or checkpoint, opened or by its path.
        data: Frames to learn from and to choose the best epoch by, as a spec or opened.
        out: Q/DQ network to write, NAME.onnx; NAME.float.onnx and NAME.ranges.json get its name.
        ranges: The network's ranges, opened or by their path; by default it is calibrated first.
        progress: Is told how the work goes on.
        settings: Fields of `jetseg.compress.qat.config.QatConfig` and `jetseg.workflows.config.StartRanges`, as in
            `epochs=10, labels=False, images=128`.

    Raises:
        ConfigError: Settings are wrong, or `out` holds a run with other settings.
        ArtifactError: The network cannot be trained.
        CalibrationError: The ranges were made for another network.
        DataError: A frame or a label is broken, or classes differ.
        TrainingDivergedError: The loss is no longer a number.
        MissingDependencyError: torch is not installed.
    """
    config, start = validate_each(settings, QatConfig, StartRanges)
    given, target = as_network(network), Path(out)
    from jetseg.compress.qat.training import check_places, train_quantized
    from jetseg.data.dataset import open_dataset
    from jetseg.quantization.render import write_qdq, write_trained_ranges

    check_output(target.with_suffix(".start.onnx"), ".onnx", [given.path])
    check_places(target, [given.path, *([config.teacher] if config.teacher else [])])
    dataset = open_dataset(data)
    check_qat(config, given.manifest, dataset, target)
    with report_progress(progress):
        parent = given
        if given.manifest.kind == "checkpoint":
            parent = export(given, out=target.with_suffix(".parent.onnx")).network
        opened = _ranges(parent, ranges, dataset, config.split, start, target)
        quantized = write_qdq(opened, target.with_suffix(".start.onnx"), placement=start.placement)
        trained = train_quantized(quantized, dataset, config, target, teacher=parent)
        fresh = write_trained_ranges(trained.qdq.path, trained.float_twin, opened)
    accuracy = trained.qdq.manifest.accuracy
    return QatResult(trained.qdq, trained.float_twin, fresh, trained.best_epoch, accuracy[0].miou if accuracy else None)


def _ranges(
    parent: Network, ranges: Ranges | Path | str | None, dataset: Dataset, split: str, start: StartRanges, target: Path
) -> Ranges:
    """Opens the ranges that training starts from, or calibrates the network."""
    if ranges is not None:
        return as_ranges(ranges, parent)
    from jetseg.workflows.calibration import calibrate

    settings: dict[str, Any] = {"split": split, "images": start.images, "targets": ("tensorrt",)}
    if start.placement:
        settings["placement"] = start.placement
    return calibrate(parent, data=dataset, out=target.with_suffix(".start.ranges.json"), **settings)
