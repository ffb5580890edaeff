"""Quantization-aware training of several tasks at once: what differs from that of one map of classes."""

from __future__ import annotations

import jetseg.models  # isort: skip  # noqa: F401 - says plainly that torch is missing
import torch
from torch import Tensor

from jetseg.compress.qat.crops import CropNetwork, open_module
from jetseg.compress.qat.loop import QatTraining
from jetseg.config import changed
from jetseg.errors import ConfigError, DataError
from jetseg.evaluation.accuracy import spread
from jetseg.evaluation.tasks import mean_score, task_accuracy, task_targets
from jetseg.network import Network
from jetseg.onnx.file import load_onnx
from jetseg.training.loaders import Batch, Crops, LabelledFrames, open_labelled_split
from jetseg.training.task_balance import Balance
from jetseg.training.task_distillation import TaskDistillation, TaskTeacher, open_task_teacher, taught_tasks
from jetseg.training.task_frames import TaskCrops, TaskFrames
from jetseg.training.task_loop import validate_tasks
from jetseg.training.task_losses import TaskLosses, total_loss


class TaskQatTraining(QatTraining):
    """One run of a network of several tasks, or of depth; the best epoch has the highest mean score of all tasks."""

    score_name = "val_score"

    def read(self) -> tuple[LabelledFrames, LabelledFrames]:
        """Reads the frames; a task that they have no labels for learns from the teacher alone."""
        learn_from, watched = (self._frames(split) for split in (self.config.split, self.config.eval_split))
        return learn_from, watched

    def _frames(self, name: str) -> TaskFrames:
        split, targets = task_targets(self.start.manifest, open_labelled_split(self.config.data, name))
        outputs = [
            changed(output, name=target) for output, target in zip(self.start.manifest.outputs, targets, strict=True)
        ]
        return TaskFrames(split, spread(len(split), self.config.frames), self.config.cache_mb, outputs)

    def make_crops(self, frames: LabelledFrames, size: tuple[int, int]) -> Crops:
        """Returns crops with a plane per task."""
        augment = self.config.augment_config()
        return TaskCrops(frames, size, augment, self.config.seed, outputs=self.manifest.outputs)

    def make_losses(self, frames: LabelledFrames, size: tuple[int, int]) -> None:
        """Makes the loss of each task, and opens the teacher."""
        del frames, size
        outputs = self.manifest.outputs
        self.task_losses = TaskLosses(outputs).to(self.fabric.device)
        self.balance = Balance([1.0] * len(outputs)).to(self.fabric.device)
        self.task_distillation: TaskDistillation | None = None
        if self.taught_by is not None:
            teacher = self._open_teacher(self.taught_by)
            self.task_distillation = TaskDistillation(self.manifest, [teacher], self.qat.distill)

    def _open_teacher(self, network: Network) -> TaskTeacher:
        tasks = taught_tasks(self.manifest, network.manifest)
        if not tasks:
            raise ConfigError(f"The teacher {network.path} has none of the network's tasks.", "Give another teacher.")
        if network.manifest.kind == "checkpoint":
            return open_task_teacher(network.path, tasks, self.manifest)
        module, manifest = open_module(load_onnx(network.path, network.sha256), network.manifest)
        module.eval().requires_grad_(False).to(self.fabric.device)
        run = CropNetwork(module, manifest, self.config.augment_config().crop, self.fabric.device)
        return TaskTeacher.of(run, manifest, tasks, self.manifest, str(network.path))

    def batch_loss(self, batch: Batch) -> Tensor:
        """Returns the losses of all tasks against labels, and against the teacher if there is one."""
        frames, planes = batch
        joined = self.network(frames)
        taught = self.task_distillation
        loss = total_loss(self.task_losses(joined, planes), self.balance, joined)
        if taught is None:
            return loss
        return self.qat.label_weight * loss + taught(joined, frames)

    def validate(self, done: int) -> float:  # noqa: ARG002
        """Returns the mean score of the tasks on the validation split."""
        with torch.no_grad():
            figures = validate_tasks(self.mean.module, self.manifest, self.watched, self.fabric.device)
        score, source = mean_score(figures), self.watched.source
        if score is None:
            raise DataError(
                f"{source.spec} ({source.split}) has no labelled pixel, so there is nothing to score.",
                "Choose another validation split.",
            )
        self.measured = task_accuracy(figures, source, len(self.watched)).model_dump()
        return score
