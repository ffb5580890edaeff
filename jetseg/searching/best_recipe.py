"""The recipe of the best engine that a search found, which `jetseg compress` runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from jetseg.searching.entries import Entry
from jetseg.searching.facts import Facts
from jetseg.searching.findings import Found
from jetseg.searching.measuring import GivenNetwork, chain_of
from jetseg.storage import write_text


def write_best_recipe(path: Path, best: Found, entries: Sequence[Entry], given: GivenNetwork, facts: Facts) -> Path:
    """Writes the recipe of the best engine, and returns its path."""
    entry = next(entry for entry in entries if entry.slot == best.trial and entry.rung > best.rung and not entry.lost)
    chain = chain_of(best.choices, given, facts.budget_ms)
    stages = [
        *chain.training(entry.epochs[: best.rung + 1], prunes=bool(entry.prunes)),
        *chain.building(best.rung),
    ]
    described = (
        f"Found by a search: trial {best.trial}, {best.miou:.2f} % mIoU on val at {best.latency_ms:.2f} ms "
        f"({facts.device})."
    )
    recipe = chain.recipe(stages, described)
    write_text(path, yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True))
    return path
