"""The training stage: settings in, checkpoints out; from labels and from a teacher alike, on any number of devices."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path

import jetseg.models  # isort: skip  # noqa: F401 - says plainly that torch is missing
import lightning_fabric
import torch
import yaml
from torch import Tensor, nn

from jetseg.evaluation.accuracy import as_record
from jetseg.manifest import Manifest
from jetseg.measured import Accuracy
from jetseg.storage import check_place, write_text
from jetseg.training.checkpoint import save_checkpoint
from jetseg.training.class_weights import COUNTS_NAME, class_weights
from jetseg.training.config import GIVEN_BY_INIT, TrainConfig
from jetseg.training.devices import deterministic, only_run, open_fabric
from jetseg.training.distillation import (
    DistillationLoss,
    FeatureNetwork,
    check_same_classes,
    distillation_warnings,
    with_features,
)
from jetseg.training.epochs import BEST_NAME, LAST_NAME, EpochLoop
from jetseg.training.initialization import resolve, start_network
from jetseg.training.loaders import Batch, Crops, Feed, LabelledFrames, open_splits, read_frames
from jetseg.training.losses import SegmentationLoss
from jetseg.training.normalize import Normalize
from jetseg.training.open_teacher import open_teacher
from jetseg.training.optimize import learning_rate, make_optimizer, set_learning_rate
from jetseg.training.parameters import RunningMean, ZeroKeeper, freeze_
from jetseg.training.state import STATE_NAME, Progress, check_processes, check_resumable, read_progress
from jetseg.training.validate import defined_miou, validate

_LOG = logging.getLogger(__name__)

CONFIG_NAME = "config.yaml"


@dataclass(frozen=True)
class TrainResult:
    """What a run leaves behind.

    Attributes:
        best: Checkpoint with the highest mIoU on the validation split.
        last: Checkpoint of the last epoch.
        miou: mIoU of `best` on the validation split, percent.
        first_process: False in the other processes of a run on several devices, which have nothing to tell.
    """

    best: Path
    last: Path
    miou: float
    first_process: bool = True


def train(config: TrainConfig) -> TrainResult:
    """Trains a network, or goes on with an interrupted run in `config.out`.

    The same settings give the same weights on the same machine; a resumed run ends with exactly the weights
    of an uninterrupted one (bit by bit on a CPU).

    Raises:
        ConfigError: The settings do not fit each other, or `config.out` holds a run with other settings.
        DataError: A frame or a label is broken, or classes differ.
        TrainingDivergedError: The loss is no longer a number.
    """
    check_place(config.out / STATE_NAME)
    config = resolve(config)
    fabric = open_fabric(config)
    with only_run(fabric, config.out):
        progress = _train(fabric, config)
    best = progress.best_miou if progress.best_miou is not None else math.nan
    return TrainResult(config.out / BEST_NAME, config.out / LAST_NAME, best, fabric.is_global_zero)


def _train(fabric: lightning_fabric.Fabric, config: TrainConfig) -> Progress:
    progress = read_progress(config.out) if config.resume else None
    fabric.barrier()
    if progress is not None:
        check_resumable(config.out, progress.config, config.identity())
        check_processes(config.out, progress, fabric.world_size, config.batch_size)
        if progress.epochs_done >= config.epochs:
            return progress
    with deterministic(fabric):
        training = _kind(config)(fabric, config, resume=progress is not None)
        training.run()
    return training.progress


def _kind(config: TrainConfig) -> type[Training]:
    """Returns what trains: several tasks, or one that has no classes, are trained by planes of labels."""
    if not config.tasks:
        return Training
    from jetseg.training.task_loop import TaskTraining

    return TaskTraining


class Training(EpochLoop):
    """One run: what it needs, and what belongs to a step and to an epoch."""

    title = "Training"

    def __init__(self, fabric: lightning_fabric.Fabric, config: TrainConfig, *, resume: bool) -> None:
        self.fabric, self.config = fabric, config
        self.module, self.manifest = self.open()
        self.frozen = freeze_(self.module, config.freeze)
        self.make_distillation()
        self.trained = self.make_trained()
        learn_from, self.watched = self.read()
        if not resume and fabric.is_global_zero:
            (config.out / COUNTS_NAME).unlink(missing_ok=True)
        self.make_loss(learn_from)
        size = (self.manifest.input.height, self.manifest.input.width)
        crops = self.make_crops(learn_from, size)
        self.feed = Feed(fabric, crops, batch_size=config.batch_size, seed=config.seed, workers=config.workers)
        self.optimizer = make_optimizer(self.trained, config)
        self.trained.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network, self.stepper = fabric.setup(self.trained, self.optimizer)
        self.normalize = Normalize(self.manifest.input).to(fabric.device)
        self.mean = RunningMean(self.module, config.ema_decay)
        self.begin(config.identity(), resume=resume)
        if not resume and fabric.is_global_zero:
            self._write_settings()
        self.zeros = ZeroKeeper(self.module) if config.keep_zeros else None
        self.validated = self.manifest
        """The manifest with the newest accuracy."""

    def _write_settings(self) -> None:
        silent = set(GIVEN_BY_INIT) if self.config.init else None
        content = self.config.model_dump(mode="json", exclude=silent)
        write_text(self.config.out / CONFIG_NAME, yaml.safe_dump(content, sort_keys=False))

    def open(self) -> tuple[nn.Module, Manifest]:
        """Opens the splits, and builds the network."""
        self.splits = open_splits(self.config)
        torch.manual_seed(self.config.seed)
        return start_network(self.config, self.splits[0])

    def read(self) -> list[LabelledFrames]:
        """Reads the frames to learn from, and those to watch the accuracy on."""
        return read_frames(self.config, *self.splits)

    def make_crops(self, frames: LabelledFrames, size: tuple[int, int]) -> Crops:
        """Returns augmented crops of the frames to learn from."""
        return Crops(frames, size, self.config.augment_config(), self.config.seed)

    def make_loss(self, frames: LabelledFrames) -> None:
        """Makes the loss against labels."""
        config = self.config
        folder = config.out if self.fabric.is_global_zero else None
        self.loss = SegmentationLoss(
            ignore_index=self.manifest.ignore_index,
            class_weights=class_weights(config.class_weights, frames, folder),
            ohem_fraction=config.ohem_fraction,
            dice_weight=config.dice_weight,
            aux_weight=config.aux_weight,
        ).to(self.fabric.device)

    def make_distillation(self) -> None:
        """Opens the teacher, if there is one."""
        config = self.config
        self.distillation: DistillationLoss | None = None
        if config.teacher is None:
            return
        layer = config.distill.teacher_layer if config.distill.compares_features else None
        teacher = open_teacher(config.teacher, config.teacher_manifest, layer)
        check_same_classes(teacher.manifest.classes, self.manifest.classes)
        size = (self.manifest.input.height, self.manifest.input.width)
        self.distillation = DistillationLoss(teacher, size, config.distill)

    def make_trained(self) -> FeatureNetwork:
        """Returns the network with what is trained beside it."""
        if self.distillation is None:
            return FeatureNetwork(self.module)
        if self.fabric.is_global_zero:
            for warning in distillation_warnings(self.config.distill, self.module):
                _LOG.warning(warning)
        return with_features(self.module, self.distillation.teacher.feature_channels, self.config.distill)

    def start_epoch(self) -> None:
        """Turns on training mode but in frozen parts, whose batch norm stays as it is."""
        self.network.train()
        for part in self.frozen:
            part.eval()

    def set_step(self, step: int) -> None:
        """Sets the learning rate, and the weight of the loss that joins late."""
        config = self.config
        self.loss.lovasz_weight = config.lovasz_weight if step >= config.lovasz_from * self.steps else 0.0
        self.set_rate(step)

    def set_rate(self, step: int) -> None:
        """Sets the learning rate of a step."""
        set_learning_rate(self.optimizer, learning_rate(self.config, step, self.steps))

    def batch_loss(self, batch: Batch) -> Tensor:
        """Returns the loss against labels, and against the teacher if there is one."""
        frames, labels = batch
        outputs, features, adapted = self.network(self.normalize(frames))
        loss: Tensor = self.loss(outputs, labels)
        if self.distillation is not None:
            loss = loss + self.distillation(outputs, frames, features, adapted)
        return loss

    def after_step(self) -> None:
        """Sets pruned weights to zero again."""
        if self.zeros is not None:
            self.zeros.apply()

    def validate(self, done: int) -> float | None:
        """Returns the mIoU on the validation split, every `validate_every` epochs and in the end."""
        self.validated = self.manifest
        if done % self.config.validate_every and done != self.config.epochs:
            return None
        score, record = self.score()
        self.validated = self.manifest.changed(accuracy=(record,))
        return score

    def score(self) -> tuple[float, Accuracy]:
        """Returns the mIoU of the running mean on the validation split, and all figures."""
        score = validate(self.mean.module, self.manifest, self.watched, self.fabric.device)
        return defined_miou(score, self.watched), as_record(score, self.watched.source)

    def save_best(self, done: int) -> None:  # noqa: ARG002
        """Writes the checkpoint with the highest mIoU."""
        save_checkpoint(self.config.out / BEST_NAME, self.mean.module, self.validated)

    def save_last(self) -> None:
        """Writes the checkpoint of the last epoch."""
        save_checkpoint(self.config.out / LAST_NAME, self.mean.module, self.validated)

    def figures(self, score: float | None) -> dict[str, float | None]:
        """Returns learning rate and mIoU."""
        return {"lr": self.optimizer.param_groups[0]["lr"], "val_miou": score}

    def latest_score(self) -> str:
        """Returns the newest mIoU."""
        scores = [row["val_miou"] for row in self.progress.history if row["val_miou"] is not None]
        return f"mIoU {scores[-1]:.1f}" if scores else ""

    def what_is_kept(self) -> str:
        """Names the checkpoint that there is, and says how to go on from it."""
        done, out = self.progress.epochs_done, self.config.out
        if not done:
            return "No epoch was finished, so there is no checkpoint."
        best, last = out / BEST_NAME, out / LAST_NAME
        kept = (best, "the best epoch so far") if best.is_file() else (last, f"epoch {done}; none was validated yet")
        return f"The checkpoint of {kept[1]} is {kept[0]}: to go on from it, give it as `init`, with another `out`."

    def advice(self) -> str:
        """Says what to do about a loss that is no longer a number."""
        return (
            f"Lower the learning rate (`lr`, now {self.config.lr:g}), lengthen the warm-up, try `class_weights` "
            f"'none' (now {self.config.class_weights!r}), and check that the labels are right."
        )
