"""Writes a chain as a recipe that `jetseg compress` runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from jetseg.advice.chains import Chain
from jetseg.advice.plan import Plan
from jetseg.advice.workbench import Workbench
from jetseg.config import validate_config
from jetseg.recipes.recipe import Recipe
from jetseg.shipped import shipped_names
from jetseg.storage import write_text

Stage = dict[str, Any]
_IMAGES = 64
_CHECKPOINT_OF = {"prune": "checkpoint", "factorize": "checkpoint", "export": "checkpoint", "fine-tune": "init"}
"""Setting of each stage that takes a checkpoint."""
_VALIDATIONS = 5
_MEANS_PER_RUN = 20
"""A run has so many spans of the running mean of its weights: a longer mean would remember the beginning."""


def write_recipe(bench: Workbench, chain: Chain, out: Path) -> bool:
    """Writes the recipe of a chain, after checking that it is one; returns False where there is nothing to do."""
    recipe = make_recipe(bench, chain)
    if not recipe["stages"]:
        return False
    validate_config(Recipe, recipe)
    write_text(out, yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True, width=120))
    return True


def make_recipe(bench: Workbench, chain: Chain) -> dict[str, Any]:
    """Returns the recipe of a chain: a description and its stages, with the settings that the probes had."""
    plan = chain.plan
    stages = [*_weights(bench, plan), *_export(bench, plan), *_quantization(bench, plan), *_engine(bench, plan)]
    about = (
        f"{bench.network.path.name}: {plan}. Expected by jetseg advise: {chain.speedup:.2f} times as fast "
        f"({chain.speedup_from}), {chain.told_drop}."
    )
    return {
        "description": about,
        "stages": [_plain(stage) for stage in _started(bench, plan, stages)],
    }


def _weights(bench: Workbench, plan: Plan) -> list[Stage]:
    """Returns the stages that change layers, and the training that repairs them."""
    if plan.instead in shipped_names() or not (bench.has_modules or plan.instead):
        return []
    stages: list[Stage] = []
    if plan.prune_ratio is not None:
        from jetseg.advice.structure import prune_settings

        stages.append({"stage": "prune", **prune_settings(bench, plan)})
    if plan.energy is not None:
        from jetseg.advice.structure import low_rank_settings

        stages.append({"stage": "factorize", **low_rank_settings(bench, plan.energy).model_dump(exclude_unset=True)})
    if plan.two_four:
        stages.append({"stage": "prune", "name": "sparse", "method": "2:4"})
    if plan.instead is not None or stages or plan.distilled:
        stages.append(_training(bench, plan))
    return stages


def _training(bench: Workbench, plan: Plan) -> Stage:
    """Returns the training: by the stronger network where that is chosen, by the network as it was elsewhere."""
    from jetseg.advice.repair import training_settings

    stronger = bench.teacher if plan.distilled or plan.instead else None
    teacher = stronger or bench.network
    epochs = bench.config.epochs
    learning: Stage = {"epochs": epochs, "validate_every": max(1, epochs // _VALIDATIONS), **training_settings(bench)}
    steps = epochs * len(bench.dataset.split(bench.config.split)) // learning["batch_size"]
    learning["ema_decay"] = round(min(0.999, max(0.0, 1 - _MEANS_PER_RUN / max(1, steps))), 4)
    learning["teacher"] = teacher.path.resolve()
    manifest = bench.manifest_file if stronger is None else bench.config.teacher_manifest
    if manifest is not None:
        learning["teacher_manifest"] = manifest.resolve()
    if plan.instead is None:
        if plan.size is not None:
            learning |= {"height": plan.size[0], "width": plan.size[1]}
        return {"stage": "fine-tune", **learning}
    spec = bench.manifest.input
    return {"stage": "train", "model": plan.instead, "height": spec.height, "width": spec.width, **learning}


def _export(bench: Workbench, plan: Plan) -> list[Stage]:
    if plan.instead in shipped_names() or not (bench.has_modules or plan.instead):
        return []
    size = {} if plan.size is None else {"height": plan.size[0], "width": plan.size[1]}
    return [{"stage": "export", **size, **({} if plan.stride is None else {"coarse": True})}]


def _quantization(bench: Workbench, plan: Plan) -> list[Stage]:
    """Returns what comes before a build, which calibrates by itself; an engine for another computer needs ranges."""
    config = bench.config
    if plan.qat:
        own = {"split": config.split, "eval_split": config.eval_split, "seed": config.seed, "images": _IMAGES}
        return [{"stage": "qat", "epochs": config.qat_epochs, **own}]
    if plan.precision == "int8" and config.target is not None:
        return [{"stage": "calibrate", "images": _IMAGES, "split": config.split}]
    return []


def _engine(bench: Workbench, plan: Plan) -> list[Stage]:
    """Returns the stage that builds and judges the engine; one for another computer is built there, from a kit."""
    config = bench.config
    if config.target is not None:
        return []
    engine: Stage = {
        "stage": "build-engine",
        "precision": plan.precision,
        "backend": config.backend,
        "threads": config.threads,
        "eval_split": config.eval_split,
        **config.gate,
    }
    if plan.precision == "int8":
        engine |= {"images": _IMAGES, "split": config.split, "auto": True}
    return [engine]


def _started(bench: Workbench, plan: Plan, stages: list[Stage]) -> list[Stage]:
    """Names the network in the stages that get none from a stage before them."""
    if not stages or stages[0]["stage"] == "train":
        return stages
    if bench.has_modules and plan.instead is None:
        first = {_CHECKPOINT_OF[stages[0]["stage"]]: bench.network.path.resolve()}
        return [{**stages[0], **first}, *stages[1:]]
    if plan.instead is not None:
        source: Stage = {"model": f"{plan.instead}.onnx"}
    else:
        source = {"model": bench.network.path.resolve()}
        source |= {} if bench.manifest_file is None else {"manifest": bench.manifest_file.resolve()}
    given = [{**stage, **source} for stage in stages]
    for stage in given:
        if stage["stage"] == "qat":
            stage["parent"] = stage.pop("model")
    return [
        stage if plan.qat and stage["stage"] == "build-engine" else named
        for stage, named in zip(stages, given, strict=True)
    ]


def _plain(stage: Stage) -> Stage:
    """Returns settings as YAML writes them."""
    return {key: str(value) if isinstance(value, Path) else value for key, value in stage.items() if value is not None}
