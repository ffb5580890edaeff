"""Distillation of several tasks: each output imitates the one of the same name of its teacher."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

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
class TaskTeacher:
    """A frozen network, and which of its outputs teach which of the student's.

    Attributes:
        run: Crops, uint8, N x H x W x 3, BGR, to joined scores.
        outputs: Its outputs.
        teaches: Number of the student's output to number of its own.
    """

    run: Callable[[Tensor], Tensor]
    outputs: tuple[OutputSpec, ...]
    teaches: dict[int, int]

    @classmethod
    def of(
        cls, run: Callable[[Tensor], Tensor], manifest: Manifest, tasks: Sequence[str], student: Manifest, name: str
    ) -> TaskTeacher:
        """Makes a teacher of some tasks of a student.

        Args:
            run: See the attributes.
            manifest: The teacher's.
            tasks: What it teaches, by the student's names; a teacher of one task may call it otherwise.
            student: The student's manifest.
            name: What messages call the teacher.

        Raises:
            ConfigError: It lacks a task, or means other classes by it.
        """
        names = [output.label for output in manifest.outputs]
        mine = [output.label for output in student.outputs]
        for task in tasks:
            if task not in names and len(names) > 1:
                raise ConfigError(f"The teacher {name} has no task {task}.", f"It has: {', '.join(names)}.")
        teaches = {mine.index(task): names.index(task) if len(names) > 1 else 0 for task in tasks}
        for own, other in teaches.items():
            if student.outputs[own].classes != manifest.outputs[other].classes:
                raise ConfigError(
                    f"The teacher {name} means other classes by {mine[own]} than the student.",
                    "Choose another teacher, or correct `classes` in its manifest.",
                )
        return cls(run, manifest.outputs, teaches)


class TaskDistillation:
    """Runs the teachers on the student's crop, and compares each task.

    Args:
        student: The student's manifest.
        teachers: Who teaches which of the tasks.
        config: Weights; those of soft labels and of depth, whose logarithm is compared, are the same.

    Raises:
        ConfigError: Features are to be compared.
    """

    def __init__(self, student: Manifest, teachers: Sequence[TaskTeacher], config: DistillConfig) -> None:
        if config.compares_features:
            raise ConfigError(
                "Features are not compared between networks of several tasks.",
                "Leave out `relation_weight` and `mimic_weight`.",
            )
        self._outputs, self._config, self._teachers = student.outputs, config, teachers

    def __call__(self, joined: Tensor, frames_nhwc_u8: Tensor) -> Tensor:
        """Returns the sum of the losses against all teachers.

        Args:
            joined: The student's scores.
            frames_nhwc_u8: The crops that it saw.
        """
        mine, total = split_scores(joined, self._outputs), joined.new_zeros(())
        for teacher in self._teachers:
            with torch.no_grad():
                said = teacher.run(frames_nhwc_u8)
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


def open_task_teacher(path: Path, tasks: Sequence[str], student: Manifest) -> TaskTeacher:
    """Opens a checkpoint as the teacher of some tasks; see `TaskTeacher.of`."""
    module, manifest = load_checkpoint(path)
    module.eval().requires_grad_(False)
    normalize = Normalize(manifest.input)

    def run(frames_nhwc_u8: Tensor) -> Tensor:
        device = frames_nhwc_u8.device
        scores: Tensor = module.to(device)(normalize.to(device)(frames_nhwc_u8))
        return scores

    return TaskTeacher.of(run, manifest, tasks, student, str(path))


def taught_tasks(student: Manifest, teacher: Manifest) -> list[str]:
    """Returns the tasks of a student that a teacher has as well, by their names."""
    known = {output.label for output in teacher.outputs}
    return [output.label for output in student.outputs if output.label in known]


def open_task_teachers(
    manifest: Manifest, teacher: Path | None, further: Mapping[str, Path]
) -> tuple[TaskTeacher, ...]:
    """Opens the teacher of each task: its own, or else the one that teaches all that it can.

    Args:
        manifest: The student's.
        teacher: Checkpoint that teaches every task that it has.
        further: Checkpoints by the tasks that they teach.

    Raises:
        ConfigError: A task that the network does not have has a teacher, or a teacher lacks its task, or means other
            classes by it.
    """
    names = [output.label for output in manifest.outputs]
    for task in further:
        if task not in names:
            raise ConfigError(f"The network has no task {task} to teach.", f"It has: {', '.join(names)}.")
    found = dict(further)
    if teacher is not None:
        found = dict.fromkeys(taught_tasks(manifest, load_manifest(teacher)), teacher) | found
        if not found:
            raise ConfigError(
                f"The teacher {teacher} has none of the tasks {', '.join(names)}.",
                "Give it for the task that it teaches, by `task_teachers`.",
            )
    by_file: dict[Path, list[str]] = {}
    for task, path in found.items():
        by_file.setdefault(path, []).append(task)
    return tuple(open_task_teacher(path, tasks, manifest) for path, tasks in by_file.items())
