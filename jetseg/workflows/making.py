"""How a network was made, as far as its history tells, for the command that makes it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jetseg.compress.config import PruneConfig
from jetseg.errors import JetsegError
from jetseg.manifest import Stage
from jetseg.network import Network
from jetseg.quantization.ranges import Ranges, open_ranges
from jetseg.report.rows import Entry
from jetseg.training.config import TrainConfig


def ranges_of(child: Entry, network: Network | None) -> Ranges | None:
    """Returns the ranges that an engine was built with, where they lie beside it."""
    place = Path(f"{child.path}.ranges.json")
    if network is None or not place.is_file():
        return None
    try:
        ranges = open_ranges(place, network)
    except JetsegError:
        return None
    return ranges if ranges.sha256 == child.manifest.calibration_sha256 else None


def build_settings(child: Entry) -> dict[str, Any]:
    """Returns what an engine was built with, as far as its history tells."""
    stage = child.manifest.stages[-1] if child.manifest.stages else Stage(name="")
    told = {
        "backend": child.manifest.backend,
        "scheme": stage.settings.get("scheme"),
        "method": stage.settings.get("method"),
    }
    return {name: str(value) for name, value in told.items() if value is not None}


def prune_settings(stage: Stage) -> dict[str, Any]:
    """Returns the settings of a pruning that a command takes as they are."""
    plain = {
        name: value
        for name, value in stage.settings.items()
        if name in PruneConfig.model_fields and isinstance(value, str | int | float) and not isinstance(value, bool)
    }
    defaults = {name: field.default for name, field in PruneConfig.model_fields.items()}
    return {name: value for name, value in plain.items() if value != defaults[name]}


def train_settings(stage: Stage, parent: Path) -> dict[str, Any]:
    """Returns what the training after a pruning ran with, as `prune` takes it; files are known by their names only.

    Args:
        stage: The training.
        parent: The network that was pruned: where the teacher has its name, it is the teacher.
    """
    known = set(TrainConfig.model_fields) - _OF_THE_RUN
    found: dict[str, Any] = {"training": {name: value for name, value in stage.settings.items() if name in known}}
    if stage.settings.get("teacher") == parent.name:
        found["teacher"] = parent
    return found


_OF_THE_RUN = {"data", "init", "out", "weights", "teacher", "teacher_manifest", "task_teachers", "epochs", "resume"}


def as_before(later: Sequence[Stage]) -> dict[str, Any]:
    """Returns how long and how fast the training after a pruning went, for a command."""
    settings = later[-1].settings if later else {}
    return {name: settings[name] for name in ("epochs", "lr", "batch_size") if name in settings}


def as_options(settings: Mapping[str, Any]) -> list[str]:
    """Returns settings as a command line has them."""
    words: list[str] = []
    for name, value in settings.items():
        for single in value if isinstance(value, tuple) else (value,):
            words += [f"--{name.replace('_', '-')}", str(single)]
    return words
