"""What an interrupted run needs to go on exactly where its last finished epoch ended: one file."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from jetseg.errors import ArtifactError, ConfigError
from jetseg.training.checkpoint import read_tensors, write_tensors
from jetseg.training.optimize import optimizer_tensors, restore_optimizer
from jetseg.training.renamed import RENAMED

STATE_NAME = "state.safetensors"


@dataclass
class Progress:
    """How far a run is.

    Attributes:
        epochs_done: Finished epochs.
        best_miou: Highest mIoU on the validation split, percent; None before the first validation.
        history: One row per finished epoch, as in metrics.csv.
        config: `TrainConfig.identity()` of the run.
        processes: How many processes share a step; None in the state of an older version.
    """

    config: dict[str, Any]
    epochs_done: int = 0
    best_miou: float | None = None
    history: list[dict[str, float | None]] = field(default_factory=list)
    processes: int | None = None


def save_state(folder: Path, progress: Progress, module: nn.Module, mean: nn.Module, optimizer: Optimizer) -> None:
    """Writes weights, their running mean, the optimizer's moments and the progress atomically."""
    parts = {
        "weights": module.state_dict(),
        "mean": mean.state_dict(),
        "optimizer": optimizer_tensors(optimizer),
    }
    tensors = {f"{part}.{name}": value for part, named in parts.items() for name, value in named.items()}
    write_tensors(folder / STATE_NAME, tensors, {"progress": json.dumps(vars(progress))})


def read_progress(folder: Path) -> Progress | None:
    """Returns how far the run in `folder` is; None if there is none.

    Raises:
        ArtifactError: The state file is damaged.
    """
    path = folder / STATE_NAME
    if not path.is_file():
        return None
    return _read(path)[0]


def restore_state(folder: Path, module: nn.Module, mean: nn.Module, optimizer: Optimizer) -> Progress:
    """Puts everything back as it was when `save_state` wrote it."""
    progress, tensors = _read(folder / STATE_NAME)
    module.load_state_dict(_part(tensors, "weights"))
    mean.load_state_dict(_part(tensors, "mean"))
    restore_optimizer(optimizer, _part(tensors, "optimizer"))
    return progress


def check_resumable(folder: Path, earlier: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuses to go on with a run under other settings.

    Args:
        folder: Where the run keeps its state.
        earlier: The settings that it was started with.
        now: The settings that were given this time.

    Raises:
        ConfigError: Some settings differ; all of them are listed with both values.
    """
    earlier = {RENAMED.get(key, key): value for key, value in earlier.items()}
    differences = [
        f"  {key}: {earlier.get(key)!r} then, {now.get(key)!r} now"
        for key in sorted({*now, *earlier})
        if now.get(key) != earlier.get(key)
    ]
    if differences:
        raise ConfigError(
            f"{folder} holds a run with other settings:\n" + "\n".join(differences),
            "\nGive another output, the same settings, or turn `resume` off to start over.",
        )


def check_processes(folder: Path, progress: Progress, now: int, batch_size: int) -> None:
    """Refuses to go on with a run on another number of processes, which would change what a step learns from.

    Args:
        folder: Where the run keeps its state.
        progress: Read from there.
        now: Processes of this time.
        batch_size: Crops per step on each of them.

    Raises:
        ConfigError: The numbers differ; both are named.
    """
    then = progress.processes
    if then is not None and then != now:
        raise ConfigError(
            f"{folder} holds a run on {_counted(then)}, {then * batch_size} crops per step; now there "
            f"{'is' if now == 1 else 'are'} {_counted(now)}, which makes {now * batch_size}.",
            "Start as many as then; or begin a new run, from the last checkpoint of this one.",
        )


def _counted(processes: int) -> str:
    return f"{processes} process" + ("" if processes == 1 else "es")


def _read(path: Path) -> tuple[Progress, dict[str, Tensor]]:
    tensors, metadata = read_tensors(path)
    try:
        return Progress(**json.loads(metadata["progress"])), tensors
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"{path} is not the state of a training run.",
            "Give another folder, or turn `resume` off to start over.",
        ) from error


def _part(tensors: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    prefix = f"{part}."
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
