"""The epochs of a run: steps, validation and what is kept; what is trained is a subclass's business."""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar

import lightning_fabric
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from jetseg.artifact_file import remove_artifact
from jetseg.errors import TrainingDivergedError
from jetseg.progress import Task, task
from jetseg.training.config import TrainConfig
from jetseg.training.loaders import Batch, Feed
from jetseg.training.loggers import go_on
from jetseg.training.parameters import RunningMean
from jetseg.training.state import STATE_NAME, Progress, restore_state, save_state

_LOG = logging.getLogger(__name__)

BEST_NAME = "best.safetensors"
LAST_NAME = "last.safetensors"


class EpochLoop(ABC):
    """Runs epochs, and keeps after each one all that an interrupted run needs to go on exactly there.

    A subclass sets the attributes, the last by `begin`; then `run` does the work.

    Attributes:
        title: What the progress bar calls the work.
        fabric: Devices and processes.
        config: Settings; in `out` the run keeps its state.
        feed: Batches, epoch by epoch.
        trained: What is trained; its weights go into the state.
        optimizer: Optimizer of these weights.
        stepper: What steps: the optimizer, or one that is wrapped for several devices.
        mean: Their running mean, which is validated and kept.
        progress: How far the run is.
    """

    title: ClassVar[str]
    fabric: lightning_fabric.Fabric
    config: TrainConfig
    feed: Feed
    trained: nn.Module
    optimizer: Optimizer
    stepper: Optimizer
    mean: RunningMean
    progress: Progress

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self.config.epochs * self.feed.steps

    def run(self) -> None:
        """Runs the epochs that are left; told to stop, says what is kept.

        Raises:
            TrainingDivergedError: The loss is no longer a number.
        """
        status = "failed"
        try:
            with self._task() as running:
                running.update(done=self.progress.epochs_done * self.feed.steps)
                self.before_first_epoch(running)
                for epoch in range(self.progress.epochs_done, self.config.epochs):
                    loss = self._epoch(epoch, running)
                    if self.fabric.is_global_zero:
                        running.update(note=f"{self._note(epoch, loss)}, validating")
                        self.keep(epoch + 1, loss)
                    self.fabric.barrier()
            status = "success"
        except KeyboardInterrupt:
            self._say_how_to_resume()
            raise
        finally:
            for logger in self.fabric.loggers if self.fabric.is_global_zero else ():
                logger.finalize(status)

    def begin(self, identity: dict[str, Any], *, resume: bool) -> None:
        """Puts back what an interrupted run kept, or removes what a run before left.

        Args:
            identity: Settings and files that decide the result.
            resume: Whether to go on with the interrupted run.
        """
        self.progress = Progress(identity, processes=self.fabric.world_size)
        if resume:
            kept = restore_state(self.config.out, self.trained, self.mean.module, self.optimizer)
            self.progress = replace(kept, processes=self.fabric.world_size)
        elif self.fabric.is_global_zero:
            for name in (STATE_NAME, BEST_NAME, LAST_NAME):
                remove_artifact(self.config.out / name)
        if self.fabric.is_global_zero:
            go_on(self.fabric.loggers, self.progress.history)

    def _epoch(self, epoch: int, running: Task) -> float:
        """Runs one epoch; returns its mean loss."""
        torch.manual_seed(self.config.seed + epoch)
        self.start_epoch()
        total = 0.0
        for index, batch in enumerate(self.feed.epoch(epoch)):
            step = epoch * self.feed.steps + index
            self.set_step(step)
            loss = self._step(batch)
            if not math.isfinite(loss):
                raise self._diverged(epoch, index)
            self.mean.update(step)
            total += loss
            running.update(advance=1, note=self._note(epoch, total / (index + 1)))
        return total / self.feed.steps

    def _step(self, batch: Batch) -> float:
        """Runs one step; returns its loss, the mean over all processes, so that all stop if it is no number."""
        self.stepper.zero_grad()
        loss = self.batch_loss(batch)
        value = float(self.fabric.all_reduce(loss.detach()))  # type: ignore[arg-type]
        if math.isfinite(value):
            self.fabric.backward(loss)
            self.stepper.step()
            self.after_step()
        return value

    def keep(self, done: int, loss: float | None) -> None:
        """Validates if it is time, and writes what is kept, the metrics and, last of all, the state.

        Killed before the state is written, the epoch runs again and writes the same files again.

        Args:
            done: Finished epochs.
            loss: Mean loss of the last one.
        """
        best, score = self.progress.best_miou, self.validate(done)
        if score is not None and (best is None or score > best):
            best = score
            self.save_best(done)
        self.save_last()
        row = {"epoch": done, "loss": loss, **self.figures(score)}
        history = [*self.progress.history, row]
        self.fabric.log_dict(row, step=done)
        progress = replace(self.progress, epochs_done=done, best_miou=best, history=history)
        save_state(self.config.out, progress, self.trained, self.mean.module, self.optimizer)
        self.progress = progress

    @abstractmethod
    def set_step(self, step: int) -> None:
        """Prepares step `step` of the run, counted from 0: learning rates, and what else changes with time."""

    @abstractmethod
    def batch_loss(self, batch: Batch) -> Tensor:
        """Returns the loss of a batch."""

    @abstractmethod
    def validate(self, done: int) -> float | None:
        """Scores the running mean in percent after `done` epochs; None if it is not its turn."""

    @abstractmethod
    def save_best(self, done: int) -> None:
        """Keeps the running mean: no epoch before was better."""

    @abstractmethod
    def figures(self, score: float | None) -> dict[str, float | None]:
        """Returns the columns of an epoch's row in the metrics, beside epoch and loss."""

    @abstractmethod
    def latest_score(self) -> str:
        """Returns the newest score for the progress bar; empty if there is none."""

    def before_first_epoch(self, running: Task) -> None:  # noqa: B027
        """Does what comes before the epochs."""

    def start_epoch(self) -> None:  # noqa: B027
        """Puts the network into the mode that it is trained in."""

    def after_step(self) -> None:  # noqa: B027
        """Does what comes after each step of the optimizer."""

    def save_last(self) -> None:  # noqa: B027
        """Keeps the running mean as it is now."""

    def _note(self, epoch: int, loss: float) -> str:
        latest = self.latest_score()
        return f"epoch {epoch + 1}/{self.config.epochs}, loss {loss:.3f}{latest and f', {latest}'}"

    def _diverged(self, epoch: int, index: int) -> TrainingDivergedError:
        rate = self.optimizer.param_groups[0]["lr"]
        return TrainingDivergedError(
            f"The loss became infinite or not a number in epoch {epoch + 1}, step {index + 1}, at a learning "
            f"rate of {rate:.2g}. {self.what_is_kept()}",
            self.advice(),
        )

    def what_is_kept(self) -> str:
        """Says what there is of a run that cannot go on."""
        best = self.config.out / BEST_NAME
        return f"The weights of the best epoch so far are in {best}." if best.is_file() else "No epoch was finished."

    def advice(self) -> str:
        """Says what to do about a loss that is no longer a number."""
        return f"Lower `lr` (now {self.config.lr:g})."

    def _say_how_to_resume(self) -> None:
        if not self.fabric.is_global_zero:
            return
        if not self.progress.history:
            _LOG.info("Stopped before the end of the first epoch; nothing is kept.")
            return
        _LOG.info(
            "Stopped. Epochs 1 to %d of %d are kept in %s; run the same again to go on from there.",
            self.progress.epochs_done,
            self.config.epochs,
            self.config.out,
        )

    @contextmanager
    def _task(self) -> Iterator[Task]:
        """Begins a task; on processes other than the first, one that nobody hears of."""
        if not self.fabric.is_global_zero:
            yield Task(self.title, self.steps)
            return
        with task(self.title, self.steps) as running:
            yield running
