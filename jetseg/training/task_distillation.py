"""Distillation of several tasks: each output imitates the one of the same name of its teacher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from jetseg.errors import ConfigError
from jetseg.manifest import Manifest
from jetseg.models.layers import resize_like, two_channels
from jetseg.network import load_manifest
from jetseg.output_spec import OutputSpec
from jetseg.training.checkpoint import load_checkpoint
from jetseg.training.config import DistillConfig
from jetseg.training.distillation_losses import channel_wise_loss, relational_loss, soft_label_loss
from jetseg.training.normalize import Normalize
from jetseg.training.task_losses import log_depth, split_scores


@dataclass(frozen=True)
class _Teacher:
    """A frozen network, and which of its outputs teach which of the student's."""

    module: nn.Module
    normalize: Normalize
    outputs: tuple[OutputSpec, ...]
    teaches: dict[int, int]


class TaskDistillation:
    """Runs the teachers on the student's crop, and compares each task.

    Args:
        student: The student's manifest.
        teachers: Checkpoints by the tasks that they teach.
        config: Weights; those of soft labels and of depth, whose logarithm is compared, are the same.

    Raises:
        ConfigError: A teacher lacks its task, or means other classes by it.
    """

    def __init__(self, student: Manifest, teachers: Mapping[str, Path], config: DistillConfig) -> None:
        if config.compares_features:
            raise ConfigError(
                "Features are not compared between networks of several tasks.",
                "Leave out `relation_weight` and `mimic_weight`.",
            )
        self._outputs, self._config = student.outputs, config
        by_file: dict[Path, list[str]] = {}
        for task, path in teachers.items():
            by_file.setdefault(path, []).append(task)
        self._teachers = [_open(path, tasks, student) for path, tasks in by_file.items()]

    def __call__(self, joined: Tensor, frames_nhwc_u8: Tensor) -> Tensor:
        """Returns the sum of the losses against all teachers.

        Args:
            joined: The student's scores.
            frames_nhwc_u8: The crops that it saw.
        """
        mine, total = split_scores(joined, self._outputs), joined.new_zeros(())
        for teacher in self._teachers:
            teacher.module.to(joined.device)
            with torch.no_grad():
                said = teacher.module(teacher.normalize.to(joined.device)(frames_nhwc_u8))
            theirs = split_scores(said, teacher.outputs)
            for own, other in teacher.teaches.items():
                total = total + self._compare(mine[own], theirs[other], self._outputs[own], teacher.outputs[other])
        return total

    def _compare(self, mine: Tensor, theirs: Tensor, output: OutputSpec, other: OutputSpec) -> Tensor:
        theirs = resize_like(theirs, mine)
        if output.task == "depth":
            error = (log_depth(mine, output) - log_depth(theirs, other)).abs().mean()
            return self._config.kd_weight * error
        student, teacher, config = two_channels(mine.float()), two_channels(theirs.float()), self._config
        loss = student.new_zeros(())
        if config.kd_weight:
            loss = loss + config.kd_weight * soft_label_loss(student, teacher, config.temperature)
        if config.cwd_weight:
            loss = loss + config.cwd_weight * channel_wise_loss(student, teacher, config.cwd_temperature)
        if config.dist_weight:
            loss = loss + config.dist_weight * relational_loss(student, teacher, config.dist_temperature)
        return loss


def _open(path: Path, tasks: Sequence[str], student: Manifest) -> _Teacher:
    module, manifest = load_checkpoint(path)
    names = [output.label for output in manifest.outputs]
    mine = [output.label for output in student.outputs]
    for task in tasks:
        if task not in names and len(names) > 1:
            raise ConfigError(f"The teacher {path} has no task {task}.", f"It has: {', '.join(names)}.")
    teaches = {mine.index(task): names.index(task) if len(names) > 1 else 0 for task in tasks}
    for own, other in teaches.items():
        if student.outputs[own].classes != manifest.outputs[other].classes:
            raise ConfigError(
                f"The teacher {path} means other classes by {mine[own]} than the student.",
                "Choose another teacher, or correct `classes` in its manifest.",
            )
    return _Teacher(module.eval().requires_grad_(False), Normalize(manifest.input), manifest.outputs, teaches)


def teachers_by_task(manifest: Manifest, teacher: Path | None, further: Mapping[str, Path]) -> dict[str, Path]:
    """Returns the teacher of each task: its own, or else the one that teaches all that it can.

    Raises:
        ConfigError: A task that the network does not have has a teacher.
    """
    names = [output.label for output in manifest.outputs]
    for task in further:
        if task not in names:
            raise ConfigError(f"The network has no task {task} to teach.", f"It has: {', '.join(names)}.")
    found = dict(further)
    if teacher is not None:
        known = {output.label for output in load_manifest(teacher).outputs}
        found = {name: teacher for name in names if name in known} | found
        if not found:
            raise ConfigError(
                f"The teacher {teacher} has none of the tasks {', '.join(names)}.",
                "Give it for the task that it teaches, by `task_teachers`.",
            )
    return found
