"""The stage of quantization-aware training: Q/DQ file in, the same graph with trained weights and scales out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import jetseg.models  # isort: skip  # noqa: F401 - says plainly that torch is missing

from jetseg.compress.qat.artifacts import float_twin_path
from jetseg.compress.qat.config import QatConfig
from jetseg.compress.qat.loop import QatTraining, TrainedGraph
from jetseg.data.dataset import Dataset
from jetseg.errors import ConfigError
from jetseg.evaluation.tasks import has_one_class_map
from jetseg.manifest import Manifest
from jetseg.network import Network, open_network
from jetseg.storage import check_output
from jetseg.training.devices import deterministic, only_run, open_fabric
from jetseg.training.state import check_processes, check_resumable, read_progress

_LR_UNIT = "channel"
"""What `lr` counts in; runs of earlier versions, with absolute learning rates, cannot go on."""


def train_quantized(
    start: Network, dataset: Dataset, config: QatConfig, out: Path, *, teacher: Network | None = None
) -> TrainedGraph:
    """Trains a Q/DQ graph under its own fake quantization, or goes on with an interrupted run.

    Kept is the epoch with the highest mIoU on the validation split (without labels: the highest agreement with
    the teacher); the untrained graph takes part as epoch 0, so training never makes it worse there.

    Args:
        start: ONNX file with symmetric int8 QuantizeLinear and DequantizeLinear pairs.
        dataset: Frames to learn from and to choose the best epoch by.
        config: Settings.
        out: Q/DQ file to write; `.float.onnx` and `.scales.json` take its name, and a folder `.run` its state.
        teacher: The float network that `start` was made from, which teaches unless `config` names another teacher.

    Raises:
        ArtifactError: The graph cannot be trained: an operator, or a quantizer that is not symmetric int8.
        ConfigError: The crops do not fit the graph, the folder holds a run with other settings, or there are neither
            labels nor a teacher.
        DataError: A frame or a label is broken, or classes differ.
        TrainingDivergedError: The loss is no longer a number.
    """
    taught_by = teacher if config.teacher is None else open_network(config.teacher, config.teacher_manifest)
    check_places(out, [network.path for network in (start, teacher, taught_by) if network is not None])
    if not config.labels and taught_by is None:
        raise ConfigError("Without `labels` there must be a teacher.", "Give a `teacher`.")
    folder = out.with_suffix(".run")
    inputs = {"data": dataset.spec, "qdq_sha256": start.sha256, "teacher_sha256": taught_by and taught_by.sha256}
    identity = {**config.identity(), **inputs, "lr_unit": _LR_UNIT}
    settings = config.as_training(start.manifest.input, dataset.spec, folder)
    fabric = open_fabric(settings)
    with deterministic(fabric), only_run(fabric, folder):
        progress = read_progress(folder) if config.resume else None
        if progress is not None:
            check_resumable(folder, progress.config, identity)
            check_processes(folder, progress, fabric.world_size, config.batch_size)
        kind = _kind(start.manifest)
        training = kind(fabric, config, settings, start, taught_by, identity, resume=progress is not None)
        training.run()
        return training.write(out)


def check_places(out: Path, reads: Sequence[Path]) -> None:
    """Refuses to write over what is read.

    Raises:
        ConfigError: `out` is no .onnx file; or it, or its float twin, is read.
    """
    check_output(out, ".onnx", reads)
    check_output(float_twin_path(out), ".onnx", reads)


def _kind(manifest: Manifest) -> type[QatTraining]:
    """Returns what trains: several tasks, or depth, are trained by planes of labels."""
    if has_one_class_map(manifest):
        return QatTraining
    from jetseg.compress.qat.task_loop import TaskQatTraining

    return TaskQatTraining
