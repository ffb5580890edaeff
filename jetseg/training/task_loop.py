"""Training of several tasks at once: what differs from the training of one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from jetseg.data.contract import Split
from jetseg.errors import DataError
from jetseg.evaluation.accuracy import spread
from jetseg.evaluation.task_budget import METRICS
from jetseg.evaluation.tasks import Figures, make_meter, mean_score, task_accuracy
from jetseg.manifest import Manifest
from jetseg.measured import Accuracy
from jetseg.postprocess import task_map
from jetseg.preprocess import Preprocessor
from jetseg.training.distillation import FeatureNetwork
from jetseg.training.initialization import start_tasks
from jetseg.training.loaders import Batch, Crops, LabelledFrames
from jetseg.training.loop import Training
from jetseg.training.task_balance import Balance, GradNorm, UncertaintyBalance, last_shared_weight
from jetseg.training.task_distillation import TaskDistillation, open_task_teachers
from jetseg.training.task_frames import TaskCrops, TaskFrames, open_task_splits
from jetseg.training.task_losses import TaskLosses, split_scores, total_loss
from jetseg.training.torch_runner import TorchRunner


class TaskTraining(Training):
    """One run of a network of several tasks."""

    def open(self) -> tuple[nn.Module, Manifest]:
        """Opens the splits, and builds the network for the tasks that they know."""
        learn_from, watched, outputs = open_task_splits(self.config)
        self.splits = learn_from, watched
        self.targets = outputs
        torch.manual_seed(self.config.seed)
        return start_tasks(self.config, learn_from, outputs)

    def read(self) -> list[LabelledFrames]:
        """Reads the frames of both splits."""
        config = self.config
        return [
            TaskFrames(split, spread(len(split), config.frames), config.cache_mb, self.targets) for split in self.splits
        ]

    def make_crops(self, frames: LabelledFrames, size: tuple[int, int]) -> Crops:
        """Returns crops with a plane per task."""
        config = self.config
        return TaskCrops(frames, size, config.augment_config(), config.seed, outputs=self.targets)

    def make_loss(self, frames: LabelledFrames) -> None:
        """Makes the loss of each task."""
        del frames
        config = self.config
        main = {"ohem_fraction": config.ohem_fraction, "dice_weight": config.dice_weight}
        self.task_losses = TaskLosses(self.manifest.outputs, main).to(self.fabric.device)

    def make_distillation(self) -> None:
        """Opens the teachers."""
        config = self.config
        teachers = open_task_teachers(self.manifest, config.teacher, config.task_teachers)
        self.task_distillation = TaskDistillation(self.manifest, teachers, config.distill) if teachers else None

    def make_trained(self) -> FeatureNetwork:
        """Returns the network with what learns the weights of the losses."""
        config = self.config
        factors = [config.loss_weights.get(output.label, 1.0) for output in self.manifest.outputs]
        trained = FeatureNetwork(self.module)
        trained.add_module("balance", self._make_balance(factors))
        return trained

    def _make_balance(self, factors: Sequence[float]) -> Balance:
        if self.config.task_weighting == "uncertainty":
            return UncertaintyBalance(factors)
        if self.config.task_weighting == "gradnorm" and len(factors) > 1:
            shared = self._last_shared()
            return GradNorm(factors, lambda: self.module.get_parameter(shared))
        return Balance(factors)

    def _last_shared(self) -> str:
        spec = self.manifest.input
        joined = self.module.eval()(torch.zeros(1, spec.channels, spec.height, spec.width))
        return last_shared_weight(self.module, [part.sum() for part in split_scores(joined, self.manifest.outputs)])

    def set_step(self, step: int) -> None:
        """Sets the learning rate."""
        self.set_rate(step)

    def batch_loss(self, batch: Batch) -> Tensor:
        """Returns the weighted losses against labels, and against the teachers if there are some."""
        frames, planes = batch
        joined, _, _ = self.network(self.normalize(frames))
        balance: Balance = self.trained.get_submodule("balance")  # type: ignore[assignment]
        loss = total_loss(self.task_losses(joined, planes), balance, joined)
        if self.task_distillation is not None:
            loss = loss + self.task_distillation(joined, frames)
        return loss

    def figures(self, score: float | None) -> dict[str, float | None]:
        """Returns learning rate, mean score, and of each task its metrics and what its loss weighs."""
        balance: Balance = self.trained.get_submodule("balance")  # type: ignore[assignment]
        names = [output.label for output in self.manifest.outputs]
        found: dict[str, float | None] = super().figures(score)
        latest = self.validated.accuracy[0].tasks if self.validated.accuracy else {}
        for name, weight, output in zip(names, balance.weights(), self.manifest.outputs, strict=True):
            figures = latest.get(name, {})
            found |= {f"{name}_{metric}": figures.get(metric) for metric in METRICS[output.task]}
            found[f"{name}_weight"] = weight
        return found

    def score(self) -> tuple[float, Accuracy]:
        """Returns the mean score of the tasks on the validation split, and their figures."""
        figures = validate_tasks(self.mean.module, self.manifest, self.watched, self.fabric.device)
        score = mean_score(figures)
        if score is None:
            raise _unlabelled(self.watched.source)
        return score, task_accuracy(figures, self.watched.source, len(self.watched))


def validate_tasks(
    module: nn.Module, manifest: Manifest, frames: LabelledFrames, device: torch.device | str = "cpu"
) -> dict[str, Figures]:
    """Scores each task of a module, at the resolution of the labels.

    Args:
        module: The network; it is put in eval mode.
        manifest: Its manifest.
        frames: Frames with planes, in the order of its outputs.
        device: Where the module is.
    """
    preprocess, runner = Preprocessor(manifest.input), TorchRunner(module, manifest, device)
    tasks = manifest.tasks
    meters = [make_meter(output) for output in manifest.outputs]
    for frame, planes in frames:
        for number, (task, meter, output) in enumerate(
            zip(tasks, meters, runner.infer_all(preprocess(frame)), strict=True)
        ):
            truth = planes[..., number]
            if task.output.task != "depth":
                unlabelled = np.isnan(truth)
                if unlabelled.all():
                    continue  # a task that this frame says nothing of
                if task.ignore_index is not None:
                    truth = np.where(unlabelled, task.ignore_index, truth)
            meter.update(truth, task_map(output, task))
    return {output.label: meter.figures() for output, meter in zip(manifest.outputs, meters, strict=True)}


def _unlabelled(source: Split) -> DataError:
    return DataError(
        f"{source.spec} ({source.split}) has no labelled pixel, so there is nothing to score.",
        "Choose another validation split.",
    )
