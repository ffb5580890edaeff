"""What can be checked first is checked first: frames, classes, teachers and libraries, before hours of work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from jetseg.data.contract import Split
from jetseg.errors import ConfigError, DataError
from jetseg.evaluation.accuracy import check_frames
from jetseg.evaluation.tasks import has_one_class_map, task_targets
from jetseg.manifest import Manifest
from jetseg.network import load_manifest
from jetseg.storage import check_place
from jetseg.training.config import TrainConfig

if TYPE_CHECKING:
    from jetseg.compress.qat.config import QatConfig
    from jetseg.data.dataset import Dataset

_FROM_EARLIER_WORK = ("init", "input_sha256", "keep_zeros")
"""Settings of a run that follow from what the work before it makes."""


def check_training(config: TrainConfig) -> None:
    """Looks whether a run can begin that will begin later, after other long work on the network that it starts from.

    Raises:
        ConfigError: The teacher has other classes, or the folder holds a run with other settings.
        DataError: A split is missing, has no labels, or other classes than the network.
        StorageError: Nothing can be written to its folder.
        ArtifactError: The teacher is broken.
        MissingDependencyError: A library is not installed.
    """
    from jetseg.training.devices import open_fabric  # noqa: F401 - says what is missing
    from jetseg.training.initialization import resolve
    from jetseg.training.loaders import open_splits
    from jetseg.training.state import STATE_NAME
    from jetseg.training.task_frames import open_task_splits

    check_place(config.out / STATE_NAME)
    config = resolve(config)
    if config.tasks:
        open_task_splits(config)
        if config.resume:
            _check_run(config.out, config.identity(), _FROM_EARLIER_WORK)
        return
    classes = None if config.init is None else load_manifest(config.init).classes
    learn_from, _ = open_splits(config, classes)
    _check_teacher(config.teacher, config.teacher_manifest, learn_from.classes)
    if config.resume:
        _check_run(config.out, config.identity(), _FROM_EARLIER_WORK)


def check_qat(config: QatConfig, network: Manifest, dataset: Dataset, out: Path) -> None:
    """Looks whether quantization-aware training can begin, before its network is exported and calibrated.

    Raises:
        ConfigError: The teacher has other classes, or the folder of the run holds one with other settings, or a network
            of several tasks shall learn without labels.
        DataError: A split is missing or empty, or labels are asked for that are not there or of other classes.
        ArtifactError: The teacher is broken.
    """
    one_map = has_one_class_map(network)
    if not (one_map or config.labels):
        raise ConfigError("Without `labels` nothing tells the best epoch of several tasks.", "Leave `labels` on.")
    for name in (config.split, config.eval_split):
        split = dataset.split(name)
        if not one_map:
            _check_targets(network, split)
        elif config.labels:
            check_frames(network.classes, split, frames=config.frames, advice="Turn `labels` off to learn without.")
        elif len(split) == 0:
            raise DataError(f"{dataset.spec} has no frames in split {name}.", "Choose another split.")
    if one_map:
        _check_teacher(config.teacher, config.teacher_manifest, network.classes)
    if config.resume:
        identity = {**config.identity(), "data": dataset.spec}
        _check_run(out.with_suffix(".run"), identity, ("qdq_sha256", "teacher_sha256"))


def _check_targets(network: Manifest, split: Split) -> None:
    """Refuses a split that has labels for none of a network's tasks."""
    labelled, targets = task_targets(network, split)
    if not len(labelled) or not any(targets):
        tasks = ", ".join(output.label for output in network.outputs)
        raise DataError(f"{split.spec} ({split.split}) has no labels for {tasks}.", "Choose another dataset or split.")


def _check_teacher(teacher: Path | None, manifest: Path | None, classes: tuple[str, ...]) -> None:
    from jetseg.training.distillation import check_same_classes
    from jetseg.training.open_teacher import open_teacher

    if teacher is not None:
        check_same_classes(open_teacher(teacher, manifest).manifest.classes, classes)


def _check_run(folder: Path, identity: dict[str, Any], unknown: tuple[str, ...]) -> None:
    """Refuses a folder that holds a run with other settings, as far as they are known yet."""
    from jetseg.training.state import check_resumable, read_progress

    progress = read_progress(folder)
    if progress is not None:
        known = [{key: value for key, value in of.items() if key not in unknown} for of in (progress.config, identity)]
        check_resumable(folder, *known)
