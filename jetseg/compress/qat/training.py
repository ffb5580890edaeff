"""The stage of quantization-aware training: Q/DQ file in, the same graph with trained weights and scales out."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning_fabric
import torch
from torch import Tensor
from torch.optim import Adam

from jetseg.compress.qat.artifacts import write_artifacts
from jetseg.compress.qat.config import QuantizeConfig
from jetseg.compress.qat.frames import WithoutVoid, open_run_frames
from jetseg.compress.qat.module import OnnxModule
from jetseg.compress.qat.student import Student, open_student
from jetseg.errors import ArtifactError, TrainingDivergedError
from jetseg.evaluate.accuracy import as_record
from jetseg.manifest import Manifest, Parity, Stage
from jetseg.network import load_manifest
from jetseg.onnx.file import load_onnx
from jetseg.progress import Task, task
from jetseg.storage import write_json
from jetseg.train.checkpoint import read_tensors, write_tensors
from jetseg.train.class_weights import class_weights
from jetseg.train.config import check_resumable
from jetseg.train.devices import deterministic, open_fabric
from jetseg.train.distill import DistillationLoss, check_same_classes
from jetseg.train.ema import RunningMean
from jetseg.train.loaders import Batch, Crops, Feed, LabelledFrames
from jetseg.train.losses import SegmentationLoss
from jetseg.train.optimize import learning_rate
from jetseg.train.state import STATE_NAME, Progress, read_progress, restore_state, save_state
from jetseg.train.teacher import Teacher, open_teacher
from jetseg.train.validate import defined_miou, validate

_LOG = logging.getLogger(__name__)

BEST_NAME = "best.safetensors"
METRICS_NAME = "metrics.json"


def run(config: QuantizeConfig) -> Path:
    """Trains a Q/DQ graph under its own fake quantization, or goes on with an interrupted run.

    Kept is the epoch with the highest mIoU on the validation split (without labels: the highest agreement with
    the teacher); the untrained graph takes part as epoch 0, so training never makes it worse there.

    Returns:
        `config.out`, with its manifest; `.float.onnx` and `.scales.json` lie beside it.

    Raises:
        ArtifactError: The graph cannot be trained: an operator, or a quantizer that is not symmetric int8.
        ConfigError: The crops do not fit the graph, or the folder holds a run with other settings.
        DataError: A frame or a label is broken, or classes differ.
        TrainingDivergedError: The loss is no longer a number.
    """
    manifest = load_manifest(config.qdq)
    identity = {**config.identity(), "qdq_sha256": manifest.sha256}
    progress = read_progress(config.folder) if config.resume else None
    if progress is not None:
        check_resumable(config.folder, progress.config, identity)
    fabric = open_fabric(config.as_training(manifest.input))
    with deterministic(fabric):
        training = _Training(fabric, config, manifest, identity, resume=progress is not None)
        try:
            training.run()
        except KeyboardInterrupt:
            _LOG.info("Stopped. Finished epochs are kept in %s; run the same again to go on.", config.folder)
            raise
        training.write()
    return config.out


class _Training:
    """One run: what it needs, and its epochs."""

    def __init__(
        self,
        fabric: lightning_fabric.Fabric,
        config: QuantizeConfig,
        manifest: Manifest,
        identity: dict[str, Any],
        *,
        resume: bool,
    ) -> None:
        self.fabric, self.config, self.parent_manifest = fabric, config, manifest
        self.settings = config.as_training(manifest.input)
        self.model = load_onnx(config.qdq)
        self.module, self.manifest = open_student(self.model, manifest, config.ranges)
        teacher = self._open_teacher()
        learn_from, self.watched = open_run_frames(self.settings, manifest, teacher, labels=config.labels)
        augment = self.settings.augment_config()
        size = (manifest.input.height, manifest.input.width)
        crops = Crops(learn_from, size, augment, config.seed)
        self.feed = Feed(fabric, crops, batch_size=config.batch_size, seed=config.seed, workers=config.workers)
        self.module.to(fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.student = Student(self.module, manifest.input, augment.crop, fabric.device)
        self.loss, self.distillation = self._make_losses(learn_from, teacher, size)
        self.optimizer = _make_optimizer(self.module, config)
        self.mean = RunningMean(self.module, config.ema_decay)
        self.progress = Progress(identity)
        if resume:
            self.progress = restore_state(config.folder, self.module, self.mean.module, self.optimizer)
        else:
            for name in (STATE_NAME, BEST_NAME):
                (config.folder / name).unlink(missing_ok=True)

    def _open_teacher(self) -> Teacher | None:
        if self.config.taught_by is None:
            return None
        teacher = open_teacher(self.config.taught_by, self.config.teacher_manifest)
        check_same_classes(teacher.manifest.classes, self.manifest.classes)
        return teacher

    def _make_losses(
        self, frames: LabelledFrames, teacher: Teacher | None, size: tuple[int, int]
    ) -> tuple[SegmentationLoss | None, DistillationLoss | None]:
        loss, distillation = None, None
        if self.config.labels:
            weights = class_weights(self.config.class_weights, frames, self.config.folder)
            loss = SegmentationLoss(self.manifest.ignore_index, weights).to(self.fabric.device)
        if teacher is not None:
            same_channels = WithoutVoid(teacher, self.student.channels)
            distillation = DistillationLoss(same_channels, size, self.config.distill)
        return loss, distillation

    def run(self) -> None:
        """Runs the epochs that are left."""
        config, steps = self.config, self.feed.steps
        with task("Training in 8 bits", config.epochs * steps) as running:
            running.update(done=self.progress.epochs_done * steps)
            if not self.progress.history:
                running.update(note="validating the start")
                self._keep(0, None)
            for epoch in range(self.progress.epochs_done, config.epochs):
                loss = self._epoch(epoch, running)
                running.update(note=f"{self._note(epoch, loss)}, validating")
                self._keep(epoch + 1, loss)

    def _epoch(self, epoch: int, running: Task) -> float:
        """Runs one epoch; returns its mean loss."""
        total, steps = 0.0, self.feed.steps
        for index, batch in enumerate(self.feed.epoch(epoch)):
            step = epoch * steps + index
            share = learning_rate(self.settings, step, self.config.epochs * steps) / self.settings.lr
            for group in self.optimizer.param_groups:
                group["lr"] = group["highest_lr"] * share
            self.optimizer.zero_grad()
            loss = self._loss(batch)
            if not math.isfinite(float(loss.detach())):
                raise TrainingDivergedError(
                    f"The loss became infinite or not a number in epoch {epoch + 1}, step {index + 1}.",
                    f"Lower the learning rates (now {self.config.lr:g}, scales {self.config.scale_lr:g}).",
                )
            self.fabric.backward(loss)
            self.optimizer.step()
            self.mean.update(step)
            total += float(loss.detach())
            running.update(advance=1, note=self._note(epoch, total / (index + 1)))
        return total / steps

    def _loss(self, batch: Batch) -> Tensor:
        frames, labels = batch
        logits = self.student(frames)
        loss = logits.new_zeros(())
        if self.loss is not None:
            weight = 1.0 if self.distillation is None else self.config.label_weight
            loss = loss + weight * self.loss(logits, labels)
        if self.distillation is not None:
            loss = loss + self.distillation(logits, frames)
        return loss

    def _keep(self, done: int, loss: float | None) -> None:
        """Validates, and writes the best weights, the metrics and, last of all, the state."""
        folder, best = self.config.folder, self.progress.best_miou
        scored = validate(self.mean.module, self.manifest, self.watched, self.fabric.device)
        if self.config.labels:
            score, measured = defined_miou(scored, self.watched), as_record(scored, self.watched.source).model_dump()
        else:
            score = scored.pixel_accuracy or 0.0
            measured = Parity(frames=scored.frames, argmax_agreement=score / 100).model_dump()
        if best is None or score > best:
            best = score
            notes = {"measured": json.dumps(measured), "epoch": str(done)}
            write_tensors(folder / BEST_NAME, self.mean.module.state_dict(), notes)
        row: dict[str, float | None] = {"epoch": done, "loss": loss, self._score_name: score}
        progress = replace(self.progress, epochs_done=done, best_miou=best, history=[*self.progress.history, row])
        write_json(folder / METRICS_NAME, progress.history)
        save_state(folder, progress, self.module, self.mean.module, self.optimizer)
        self.progress = progress

    @property
    def _score_name(self) -> str:
        return "val_miou" if self.config.labels else "val_agreement"

    def _note(self, epoch: int, loss: float) -> str:
        latest = self.progress.history[-1][self._score_name]
        return f"epoch {epoch + 1}/{self.config.epochs}, loss {loss:.3f}, {self._score_name} {latest:.2f}"

    def write(self) -> None:
        """Writes what the best epoch made."""
        tensors, notes = read_tensors(self.config.folder / BEST_NAME)
        try:
            epoch, measured = int(notes["epoch"]), json.loads(notes["measured"])
        except (KeyError, ValueError) as error:
            raise ArtifactError(
                f"{self.config.folder / BEST_NAME} is not what this run wrote.", "Start over with --no-resume."
            ) from error
        self.module.load_state_dict(tensors)
        settings = self.config.model_dump(mode="json", exclude={"out", "resume", "workers"}, exclude_none=True)
        stage = Stage(name="quantize", settings={**settings, "best_epoch": epoch, "history": self.progress.history})
        changes = {
            "kind": "onnx",
            "parent_sha256": self.parent_manifest.sha256,
            "stages": (*self.parent_manifest.stages, stage),
            "accuracy": (measured,) if self.config.labels else (),
            "parity": None if self.config.labels else measured,
        }
        manifest = Manifest.model_validate({**self.parent_manifest.model_dump(), **changes})
        write_artifacts(self.config.out, self.model, self.module, manifest)


def _make_optimizer(module: OnnxModule, config: QuantizeConfig) -> Adam:
    """Builds Adam over weights and scales, each with its own learning rate; a short run needs no weight decay."""
    weights = list(module.weights)
    scales = [parameter for parameter in module.activations.parameters() if parameter.requires_grad]
    groups = [{"params": weights, "highest_lr": config.lr}, {"params": scales, "highest_lr": config.scale_lr}]
    return Adam([group for group in groups if group["params"]], lr=config.lr)
