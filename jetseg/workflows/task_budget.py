"""What a compressed network lost in each task, and whether its budget allows that."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from jetseg.artifact_file import move_artifact
from jetseg.data.dataset import Dataset
from jetseg.errors import ConfigError, GateError
from jetseg.evaluation.task_budget import budgets_of, task_violations
from jetseg.evaluation.tasks import Figures, measure_tasks
from jetseg.network import Network, open_network
from jetseg.workflows.opening import open_engine

Losses = dict[str, tuple[Figures, Figures]]
"""Figures of each task, before and after."""


def check_budgets(network: Network, asked: Mapping[str, str], dataset: Dataset | None) -> None:
    """Refuses a budget that cannot be held, before the work.

    Raises:
        ConfigError: There is no such task or metric, an amount is no number, or nothing tells what is lost.
    """
    if not asked:
        return
    budgets_of(network.manifest.outputs, asked, 0.0)
    if dataset is None:
        raise ConfigError("`max_drop` needs frames to measure on.", "Give `data`.")


def measure_losses(
    network: Network, compressed: Path, dataset: Dataset, split: str, asked: Mapping[str, str]
) -> Losses:
    """Measures both networks on the same frames; what lost more than was allowed is set aside.

    Args:
        network: Before.
        compressed: After; a checkpoint, which moves to NAME.rejected.safetensors if it lost too much.
        dataset: The frames.
        split: Their split.
        asked: What each metric may lose, by TASK_METRIC; metrics that are not named are not judged.

    Raises:
        GateError: A metric lost too much; all are named.
    """
    figures = []
    for each, what in ((network, "before"), (open_network(compressed), "after")):
        with open_engine(each) as engine:
            found = measure_tasks(engine.maps, each.manifest, dataset.split(split), description=f"Measuring {what}")
            figures.append(found)
    before, after = figures
    outputs = network.manifest.outputs
    budgets = {key: amount for key, amount in budgets_of(outputs, asked, 0.0).items() if "_".join(key) in asked}
    broken = task_violations(budgets, before, after)
    if broken:
        aside = compressed.with_name(f"{compressed.stem}.rejected{compressed.suffix}")
        move_artifact(compressed, aside)
        raise GateError(
            f"The network lost too much: {'; '.join(broken)}. It is kept as {aside}.",
            "Remove less, train longer (`epochs`), or allow more by `max_drop`.",
        )
    return {name: (before[name], after[name]) for name in before}
