"""What `jetseg prune` and `jetseg factorize` share: the training that repairs a compressed network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jetseg.cli import training as t
from jetseg.errors import ConfigError


@dataclass(frozen=True)
class FineTuning:
    """Settings of the training that follows; without epochs there is none.

    Attributes:
        epochs: Passes over the training frames.
        settings: All other settings by name, as a verb was given them.
    """

    epochs: int
    settings: dict[str, Any]

    def check(self, init: Path) -> None:
        """Refuses wrong settings before the work starts.

        Raises:
            ConfigError: Settings are wrong; all mistakes are named.
        """
        if self.epochs and self.settings["data"] is None:
            raise ConfigError("Fine-tuning has nothing to learn from.", "Give --data SPEC, or --epochs 0.")
        if not self.epochs and self.settings["teacher"] is not None:
            raise ConfigError("A teacher is of use only while fine-tuning.", "Give --epochs N as well.")
        if self.epochs:
            t.make_config({**self._given(self.epochs, init.parent), "init": init})

    def run(self, start: Path, folder: Path, target: Path, epochs: int) -> float:
        """Trains a checkpoint, keeps the best epoch as `target` and returns its mIoU in percent.

        Args:
            start: Checkpoint to train; it is renamed after its content, so that a run cannot be resumed with
                another network.
            folder: Folder of the run.
            target: Checkpoint to write.
            epochs: How long to train.
        """
        from jetseg.manifest import manifest_path
        from jetseg.storage import sha256_file, write_bytes
        from jetseg.train.loop import run

        named = start.with_name(f"{start.stem}-{sha256_file(start)[:8]}{start.suffix}")
        manifest_path(start).replace(manifest_path(named))
        start.replace(named)
        result = run(t.make_config({**self._given(epochs, folder), "init": named}))
        write_bytes(target, result.best.read_bytes())
        write_bytes(manifest_path(target), manifest_path(result.best).read_bytes())
        return result.miou

    def _given(self, epochs: int, folder: Path) -> dict[str, Any]:
        return {**self.settings, "epochs": epochs, "out": folder, "model_option": None}


def run_folder(target: Path) -> Path:
    """Returns the folder of the run that makes `target`."""
    return target.with_name(f"{target.stem}-finetune")
