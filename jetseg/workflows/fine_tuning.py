"""The training that repairs a network after pruning or factorization."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jetseg.artifact_file import copy_artifact, move_artifact
from jetseg.compress.config import FineTuneConfig
from jetseg.config import validate_config
from jetseg.errors import ConfigError
from jetseg.storage import sha256_file
from jetseg.training.config import TrainConfig
from jetseg.workflows.preflight import check_training


@dataclass(frozen=True)
class FineTuning:
    """Settings of the training that follows; without epochs there is none.

    Attributes:
        config: Settings.
        frames: What it learns from: `data`, and `split` where that was given.
    """

    config: FineTuneConfig
    frames: Mapping[str, Any]

    @property
    def epochs(self) -> int:
        """Passes over the training frames."""
        return self.config.epochs

    def check(self, checkpoint: Path, folder: Path) -> None:
        """Refuses wrong settings and frames before the work starts.

        Args:
            checkpoint: What will be compressed, and then trained.
            folder: Folder of the run.

        Raises:
            ConfigError: Settings are wrong; all mistakes are named.
            JetsegError: The frames do not serve, or the teacher does not, or a library is missing.
        """
        if self.epochs and "data" not in {**self.config.training, **self.frames}:
            raise ConfigError("Fine-tuning has nothing to learn from.", "Give `data`, or 0 `epochs`.")
        if not self.epochs and self.config.teacher is not None:
            raise ConfigError("A teacher is of use only while fine-tuning.", "Give `epochs` as well.")
        if self.epochs:
            check_training(self._settings(checkpoint, folder, self.epochs))

    def run(self, start: Path, folder: Path, target: Path, epochs: int) -> float:
        """Trains a checkpoint, keeps the best epoch as `target` and returns its mIoU in percent.

        Args:
            start: Checkpoint to train; it is renamed after its content, so that a run cannot be resumed with
                another network.
            folder: Folder of the run.
            target: Checkpoint to write.
            epochs: How long to train.
        """
        from jetseg.training.loop import train
        from jetseg.workflows.probing import probe_before_training

        named = start.with_name(f"{start.stem}-{sha256_file(start)[:8]}{start.suffix}")
        move_artifact(start, named)
        settings = self._settings(named, folder, epochs)
        probe_before_training(settings)
        result = train(settings)
        copy_artifact(result.best, target)
        return result.miou

    def _settings(self, init: Path, folder: Path, epochs: int) -> TrainConfig:
        """Returns the settings of one run: defaults, then further settings, then those given by name."""
        given = self.config.model_fields_set - {"epochs", "training"}
        named = {name: getattr(self.config, name) for name in given}
        own = {"epochs": epochs, "init": init, "out": folder}
        return validate_config(
            TrainConfig, {"lr": self.config.lr, **self.config.training, **named, **self.frames, **own}
        )


def run_folder(target: Path) -> Path:
    """Returns the folder of the run that makes `target`."""
    return target.with_name(f"{target.stem}-finetune")
