"""From the choices of a trial to the recipe of its chain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jetseg.input_spec import InputSpec
from jetseg.recipes.recipe import Recipe
from jetseg.searching.config import LAST_RUNG, SearchConfig
from jetseg.searching.space import Params

RUNGS = ("probe", "short", "long")
"""Names of the trainings of a chain; each goes on from the one before."""
AIM = 0.95
"""Part of the budget that pruning aims at: what it reaches is up to a twentieth slower."""
_MOST_SIZE_STEP = 32

Stage = dict[str, Any]


@dataclass(frozen=True)
class Chain:
    """The chain of one trial.

    Attributes:
        config: Settings of the search.
        params: All choices.
        checkpoint: The given network.
        input: Its input.
        budget_ms: Most milliseconds that the engine may take; None without a budget.
        teacher: Network to imitate.
    """

    config: SearchConfig
    params: Params
    checkpoint: Path
    input: InputSpec
    budget_ms: float | None
    teacher: Path

    def before_pruning(self) -> list[Stage]:
        """Returns the stages before channels are pruned."""
        stages: list[Stage] = []
        height, width = self.size
        if (height, width) != (self.input.height, self.input.width):
            stages.append({"stage": "resize", "height": height, "width": width})
        if self.params["low_rank"] != "none":
            stages.append(
                {
                    "stage": "factorize",
                    "form": self.params["low_rank"],
                    "energy": self.params["energy"],
                    "backend": self.config.backend,
                    "precision": self.config.precision,
                    "threads": self.config.threads,
                }
            )
        return stages

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the network's input: multiples of a power of two, as much as those of the given one."""
        sizes = (self.input.height, self.input.width)
        step = math.gcd(*sizes, _MOST_SIZE_STEP)
        scale = float(self.params["input_scale"])
        height, width = (max(1, round(size * scale / step)) * step for size in sizes)
        return height, width

    def training(self, epochs: Sequence[int], *, prunes: bool) -> list[Stage]:
        """Returns the stages from the given network to a trained one.

        Args:
            epochs: Epochs of the rungs so far.
            prunes: Whether channels are pruned.
        """
        stages = self.before_pruning()
        if prunes:
            stages.append(self._pruning())
        if self.params.get("two_four") == "yes":
            stages.append({"stage": "prune", "name": "sparsify", "method": "2:4"})
        stages += [self._fine_tuning(RUNGS[rung], number) for rung, number in enumerate(epochs)]
        first = stages[0]
        first["init" if first["stage"] == "fine-tune" else "checkpoint"] = str(self.checkpoint)
        return stages

    def building(self, rung: int) -> list[Stage]:
        """Returns the stages from a trained network to an engine; that of the last rung is complete."""
        build: Stage = {
            "stage": "build-engine",
            "backend": self.config.backend,
            "precision": self.config.precision,
            "threads": self.config.threads,
            "max_drop": self.config.engine_drop,
            "max_class_drop": self.config.engine_class_drop,
            "images": self.config.images,
            "preset": "accurate" if rung == LAST_RUNG else "fast",
            "estimate": rung == LAST_RUNG,
        }
        if "scheme" in self.params:
            build["scheme"] = self.params["scheme"]
        if self.params.get("mixed") == "yes":
            build["auto"] = True
        if "placement" not in self.params:
            return [{"stage": "export"}, build]
        placed = {"placement": self.params["placement"], "targets": ["tensorrt"]}
        calibrate: Stage = {"stage": "calibrate", "images": build["images"], "preset": build["preset"], **placed}
        return [{"stage": "export"}, calibrate, build]

    def recipe(self, stages: Sequence[Stage], description: str = "A trial of a search.") -> Recipe:
        """Returns stages as a recipe."""
        return Recipe(description=description, stages=tuple(stages))

    def _pruning(self) -> Stage:
        speed = (
            {"speedup": self.params["speedup"]}
            if self.budget_ms is None
            else {"target_latency_ms": round(AIM * self.budget_ms, 4)}
        )
        return {
            "stage": "prune",
            **speed,
            "criterion": self.params["criterion"],
            "evenness": self.params["evenness"],
            "max_ratio": self.params["max_ratio"],
            "backend": self.config.backend,
            "precision": self.config.precision,
            "threads": self.config.threads,
            "seed": self.config.seed,
        }

    def _fine_tuning(self, name: str, epochs: int) -> Stage:
        method = self.params["distillation"]
        distill: Stage = {}
        if method != "none":
            weights = {"kd_weight": 0.0, f"{method}_weight": self.params["distillation_weight"]}
            distill = {"teacher": str(self.teacher), "distill": weights}
        return {
            "stage": "fine-tune",
            "name": name,
            **self.config.training,
            **distill,
            "epochs": epochs,
            "lr": self.params["lr"],
            "batch_size": int(self.params["batch_size"]),
            "validate_every": max(1, epochs // 10),
            "seed": self.config.seed,
        }
