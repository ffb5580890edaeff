"""The training loop, for learning from labels and from a teacher alike; on any number of devices."""

from __future__ import annotations

import csv
import io
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import lightning_fabric
import torch
from torch.optim import Optimizer

from jetseg.errors import TrainingDivergedError
from jetseg.evaluate.accuracy import as_record
from jetseg.progress import Task, task
from jetseg.storage import write_text
from jetseg.train.checkpoint import save_checkpoint
from jetseg.train.class_weights import COUNTS_NAME, class_weights
from jetseg.train.config import TrainConfig, check_resumable, save_config
from jetseg.train.devices import deterministic, open_fabric
from jetseg.train.distill import (
    DistillationLoss,
    Student,
    check_same_classes,
    distillation_warnings,
    make_student,
)
from jetseg.train.ema import RunningMean
from jetseg.train.freezing import freeze_
from jetseg.train.initialization import resolve, start_network
from jetseg.train.loaders import Batch, Crops, Feed, LabelledFrames, open_frames
from jetseg.train.losses import SegmentationLoss
from jetseg.train.normalize import Normalize
from jetseg.train.optimize import learning_rate, make_optimizer, set_learning_rate
from jetseg.train.sparsity import ZeroKeeper
from jetseg.train.state import STATE_NAME, Progress, read_progress, restore_state, save_state
from jetseg.train.teacher import open_teacher
from jetseg.train.validate import defined_miou, validate

_LOG = logging.getLogger(__name__)

BEST_NAME = "best.safetensors"
LAST_NAME = "last.safetensors"
METRICS_NAME = "metrics.csv"


@dataclass(frozen=True)
class TrainResult:
    """What a run leaves behind.

    Attributes:
        best: Checkpoint with the highest mIoU on the validation split.
        last: Checkpoint of the last epoch.
        miou: mIoU of `best` on the validation split, percent.
    """

    best: Path
    last: Path
    miou: float


def run(config: TrainConfig) -> TrainResult:
    """Trains a network, or goes on with an interrupted run in `config.out`.

    The same settings give the same weights on the same machine; a resumed run ends with exactly the weights
    of an uninterrupted one (bit by bit on a CPU).

    Raises:
        ConfigError: The settings do not fit each other, or `config.out` holds a run with other settings.
        DataError: A frame or a label is broken, or classes differ.
        TrainingDivergedError: The loss is no longer a number.
    """
    config = resolve(config)
    fabric = open_fabric(config)
    progress = read_progress(config.out) if config.resume else None
    fabric.barrier()
    if progress is not None:
        check_resumable(config.out, progress.config, config.identity())
        if progress.epochs_done == config.epochs:
            return _result(config, progress)
    with deterministic(fabric):
        training = _Training(fabric, config, resume=progress is not None)
        try:
            training.run()
        except KeyboardInterrupt:
            training.say_how_to_resume()
            raise
    return _result(config, training.progress)


class _Training:
    """One run: what it needs, and its epochs."""

    def __init__(self, fabric: lightning_fabric.Fabric, config: TrainConfig, *, resume: bool) -> None:
        self.fabric, self.config = fabric, config
        learn_from, self.watched = open_frames(config)
        if not resume and fabric.is_global_zero:
            (config.out / COUNTS_NAME).unlink(missing_ok=True)
        torch.manual_seed(config.seed)
        self.module, self.manifest = start_network(config, learn_from.source)
        self.frozen = freeze_(self.module, config.freeze)
        self.loss, self.distillation = self._make_losses(learn_from)
        self.student = self._make_student()
        size = (self.manifest.input.height, self.manifest.input.width)
        crops = Crops(learn_from, size, config.augment_config(), config.seed)
        self.feed = Feed(fabric, crops, batch_size=config.batch_size, seed=config.seed, workers=config.workers)
        self.optimizer: Optimizer = make_optimizer(self.student, config)
        self.student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network, self.stepper = fabric.setup(self.student, self.optimizer)
        self.normalize = Normalize(self.manifest.input).to(fabric.device)
        self.mean = RunningMean(self.module, config.ema_decay)
        self.progress = Progress(config.identity())
        if resume:
            self.progress = restore_state(config.out, self.student, self.mean.module, self.optimizer)
        elif fabric.is_global_zero:
            for name in (STATE_NAME, BEST_NAME, LAST_NAME):
                (config.out / name).unlink(missing_ok=True)
            save_config(config)
        self.zeros = ZeroKeeper(self.module) if config.keep_zeros else None

    def _make_losses(self, frames: LabelledFrames) -> tuple[SegmentationLoss, DistillationLoss | None]:
        config = self.config
        folder = config.out if self.fabric.is_global_zero else None
        loss = SegmentationLoss(
            ignore_index=self.manifest.ignore_index,
            class_weights=class_weights(config.class_weights, frames, folder),
            ohem_fraction=config.ohem_fraction,
            dice_weight=config.dice_weight,
            aux_weight=config.aux_weight,
        ).to(self.fabric.device)
        if config.teacher is None:
            return loss, None
        layer = config.distill.teacher_layer if config.distill.compares_features else None
        teacher = open_teacher(config.teacher, config.teacher_manifest, layer)
        check_same_classes(teacher.manifest.classes, self.manifest.classes)
        size = (self.manifest.input.height, self.manifest.input.width)
        return loss, DistillationLoss(teacher, size, config.distill)

    def _make_student(self) -> Student:
        if self.distillation is None:
            return Student(self.module)
        if self.fabric.is_global_zero:
            for warning in distillation_warnings(self.config.distill, self.module):
                _LOG.warning(warning)
        return make_student(self.module, self.distillation.teacher.feature_channels, self.config.distill)

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self.config.epochs * self.feed.steps

    def run(self) -> None:
        """Runs the epochs that are left."""
        with _task(self.fabric, self.steps) as running:
            running.update(done=self.progress.epochs_done * self.feed.steps)
            for epoch in range(self.progress.epochs_done, self.config.epochs):
                loss = self._epoch(epoch, running)
                if self.fabric.is_global_zero:
                    running.update(note=f"{self._note(epoch, loss)}, validating")
                    self._keep(epoch, loss)
                self.fabric.barrier()

    def _epoch(self, epoch: int, running: Task) -> float:
        """Runs one epoch; returns its mean loss."""
        config = self.config
        torch.manual_seed(config.seed + epoch)
        self.network.train()
        for part in self.frozen:
            part.eval()
        total = 0.0
        for index, batch in enumerate(self.feed.epoch(epoch)):
            step = epoch * self.feed.steps + index
            self.loss.lovasz_weight = config.lovasz_weight if step >= config.lovasz_from * self.steps else 0.0
            set_learning_rate(self.optimizer, learning_rate(config, step, self.steps))
            loss = self._step(batch)
            if not math.isfinite(loss):
                raise self._diverged(epoch, index)
            self.mean.update(step)
            total += loss
            running.update(advance=1, note=self._note(epoch, total / (index + 1)))
        return total / self.feed.steps

    def _step(self, batch: Batch) -> float:
        frames, labels = batch
        self.stepper.zero_grad()
        outputs, features, adapted = self.network(self.normalize(frames))
        loss = self.loss(outputs, labels)
        if self.distillation is not None:
            loss = loss + self.distillation(outputs, frames, features, adapted)
        # the mean over all processes, so that they stop together when it is no longer a number
        value = float(self.fabric.all_reduce(loss.detach()))  # type: ignore[arg-type]
        if math.isfinite(value):
            self.fabric.backward(loss)
            self.stepper.step()
            if self.zeros is not None:
                self.zeros.apply()
        return value

    def _keep(self, epoch: int, loss: float) -> None:
        """Validates if it is time, and writes checkpoints, metrics and, last of all, the state."""
        config, done, best = self.config, epoch + 1, self.progress.best_miou
        manifest, miou = self.manifest, None
        if done % config.validate_every == 0 or done == config.epochs:
            score = validate(self.mean.module, self.manifest, self.watched, self.fabric.device)
            miou = defined_miou(score, self.watched)
            accuracy = as_record(score, self.watched.source)
            manifest = self.manifest.changed(accuracy=(accuracy,))
        if miou is not None and (best is None or miou > best):
            best = miou
            save_checkpoint(config.out / BEST_NAME, self.mean.module, manifest)
        save_checkpoint(config.out / LAST_NAME, self.mean.module, manifest)
        row = {"epoch": done, "loss": loss, "lr": self.optimizer.param_groups[0]["lr"], "val_miou": miou}
        history = [*self.progress.history, row]
        _write_metrics(config.out / METRICS_NAME, history)
        # The state comes last: killed before it, the epoch runs again and writes the same files again.
        progress = replace(self.progress, epochs_done=done, best_miou=best, history=history)
        save_state(config.out, progress, self.student, self.mean.module, self.optimizer)
        self.progress = progress

    def _note(self, epoch: int, loss: float) -> str:
        scores = [row["val_miou"] for row in self.progress.history if row["val_miou"] is not None]
        latest = f", mIoU {scores[-1]:.1f}" if scores else ""
        return f"epoch {epoch + 1}/{self.config.epochs}, loss {loss:.3f}{latest}"

    def _diverged(self, epoch: int, step: int) -> TrainingDivergedError:
        best = self.config.out / BEST_NAME
        kept = f"The best checkpoint so far is {best}." if best.is_file() else "No checkpoint was kept yet."
        rate = self.optimizer.param_groups[0]["lr"]
        return TrainingDivergedError(
            f"The loss became infinite or not a number in epoch {epoch + 1}, step {step + 1}, at a learning "
            f"rate of {rate:.2g}. {kept}",
            f"Lower the learning rate (now --lr {self.config.lr:g}), lengthen the warm-up, try class weights "
            f"'none' (now {self.config.class_weights!r}), and check that the labels are right.",
        )

    def say_how_to_resume(self) -> None:
        """Tells what is kept and how to go on."""
        done = self.progress.epochs_done
        if not self.fabric.is_global_zero:
            return
        if done == 0:
            _LOG.info("Stopped before the end of the first epoch; nothing is kept.")
            return
        _LOG.info(
            "Stopped. Epochs 1 to %d of %d are kept in %s; run the same again to go on from there.",
            done,
            self.config.epochs,
            self.config.out,
        )


@contextmanager
def _task(fabric: lightning_fabric.Fabric, steps: int) -> Iterator[Task]:
    """Begins a task; on processes other than the first, one that nobody hears of."""
    if not fabric.is_global_zero:
        yield Task("Training", steps)
        return
    with task("Training", steps) as running:
        yield running


def _write_metrics(path: Path, history: list[dict[str, float | None]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(history[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    write_text(path, text.getvalue())


def _result(config: TrainConfig, progress: Progress) -> TrainResult:
    best = progress.best_miou if progress.best_miou is not None else math.nan
    return TrainResult(config.out / BEST_NAME, config.out / LAST_NAME, best)
