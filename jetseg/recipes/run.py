"""Runs a recipe; a stage whose inputs are those of an earlier run is not run again."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import jetseg
from jetseg.data.dataset import open_split
from jetseg.errors import ConfigError, DataError, InputError
from jetseg.evaluation.accuracy import check_frames, spread
from jetseg.network import artifact_sha256, open_network
from jetseg.recipes.recipe import Recipe, StageSpec
from jetseg.recipes.stages import KINDS, Settings
from jetseg.storage import writing
from jetseg.trust import trust
from jetseg.workflows.stage_results import Artifacts, StageResult, kept_result, save_result

_LOG = logging.getLogger(__name__)

_FRAMES_HASHED = 32
_SPLITS = ("train", "val", "test")


def run_recipe(recipe: Recipe, data: str, out: Path) -> list[StageResult]:
    """Runs the stages of a recipe in order.

    Each stage has a folder in `out` whose name holds a hash of everything that it depends on: its settings, the
    files that go in, the data. What is there already is kept; an interrupted training goes on.

    Args:
        recipe: The stages.
        data: Dataset spec for all of them that have none of their own.
        out: Folder of the results.

    Raises:
        ConfigError: A stage refers to one that does not come before it, or its settings are wrong.
        JetsegError: Whatever a stage raised.
    """
    for spec in recipe.specs():
        _check(spec)
    trust(str(spec.settings["model"]) for spec in recipe.specs() if spec.kind == "train" and "model" in spec.settings)
    _check_frames(recipe, data)
    hash_of = cache(data_hash)
    newest: Artifacts = {}
    results: list[StageResult] = []
    for number, spec in enumerate(recipe.specs(), 1):
        settings = _complete(spec, data, newest, {result.name: result for result in results})
        key = _key(spec, settings, hash_of)
        folder = out / f"{number:02d}-{spec.name}-{key[:8]}"
        with writing(folder, wait=True):  # another run may be making the same, and then it is kept
            result = kept_result(folder) or _run_stage(spec, settings, folder)
        results.append(result)
        if "onnx" in result.artifacts:
            newest.pop("ranges", None)  # they belong to the network before it
        newest |= result.artifacts
    return results


def _check(spec: StageSpec) -> None:
    """Refuses settings that cannot be right, before any stage runs."""
    try:
        KINDS[spec.kind].check(spec.settings)
    except ConfigError as error:
        raise ConfigError(f"Stage {spec.name}: {error.found}", error.fix) from error


def _check_frames(recipe: Recipe, data: str) -> None:
    """Refuses data that a later stage could not use, as those of other classes than the network's."""
    classes: tuple[str, ...] = ()
    for spec in recipe.specs():
        place = spec.settings.get("data", data)
        classes = _classes_of_given_network(spec) or (() if _is_fresh(spec) else classes)
        for name, labels in KINDS[spec.kind].splits(spec.settings).items():
            try:
                split = open_split(place, name)
                classes = classes or split.classes
                check_frames(classes, split, labels=labels)
            except InputError as error:
                raise type(error)(f"Stage {spec.name}: {error.found}", error.fix) from error


def _classes_of_given_network(spec: StageSpec) -> tuple[str, ...]:
    """Returns the classes of the network that a recipe names by its file; empty if an earlier stage makes it."""
    takes = KINDS[spec.kind].takes
    path = spec.settings.get(takes.get("checkpoint", takes.get("onnx", "")))
    if not isinstance(path, str) or path.startswith("@"):
        return ()
    return open_network(path, spec.settings.get("manifest")).manifest.classes


def _is_fresh(spec: StageSpec) -> bool:
    """Tells whether a stage trains a network that has nothing to do with those before it."""
    return spec.kind == "train" and not {"init", "teacher"} & spec.settings.keys()


def _complete(spec: StageSpec, data: str, newest: Artifacts, earlier: Mapping[str, StageResult]) -> Settings:
    """Returns the settings of a stage with references replaced and what follows from earlier stages filled in."""
    kind = KINDS[spec.kind]
    wired: Settings = {setting: newest[artifact] for artifact, setting in kind.takes.items() if artifact in newest}
    if kind.uses_data:
        wired["data"] = data
    return wired | {key: _resolved(value, spec, earlier) for key, value in spec.settings.items()}


def _resolved(value: Any, spec: StageSpec, earlier: Mapping[str, StageResult]) -> Any:  # noqa: ANN401 - any YAML value
    """Replaces "@name" by the file that the stage `name` made."""
    if not (isinstance(value, str) and value.startswith("@")):
        return value
    if value[1:] not in earlier:
        raise ConfigError(
            f"The stage {spec.name} refers to {value}, and no stage before it has that name.",
            f"Stages before it: {', '.join(earlier) or 'none'}.",
        )
    return next(iter(earlier[value[1:]].artifacts.values()))


def _key(spec: StageSpec, settings: Settings, hash_of: Callable[[str], str]) -> str:
    """Hashes all that decides what a stage makes; its data are those of the recipe or, if it says so, its own."""
    data = settings.get("data")
    content = {name: _content(value) for name, value in settings.items() if name != "data"}
    parts = [jetseg.__version__, spec.kind, content, hash_of(data) if isinstance(data, str) else data]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _content(value: Any) -> Any:  # noqa: ANN401 - any YAML value
    if isinstance(value, str | Path) and Path(value).is_file():
        return artifact_sha256(Path(value))
    return value


def data_hash(data: str) -> str:
    """Hashes some frames and labels of each split, and how many frames there are."""
    digest = hashlib.sha256()
    for split in _SPLITS:
        with suppress(DataError):  # no such split
            dataset = open_split(data, split)
            digest.update(f"{split} {len(dataset)}".encode())
            for index in spread(len(dataset), _FRAMES_HASHED):
                sample = dataset[index]
                digest.update(sample.image_hwc_u8.tobytes())
                digest.update(b"" if sample.label_hw_u8 is None else sample.label_hw_u8.tobytes())
    return digest.hexdigest()


def _run_stage(spec: StageSpec, settings: Settings, folder: Path) -> StageResult:
    kind = KINDS[spec.kind]
    folder.mkdir(parents=True, exist_ok=True)
    _LOG.info("Stage %s", spec.name)
    started = time.perf_counter()
    artifacts = kind.run(settings | {"out": folder / kind.out})
    result = StageResult(spec.name, spec.kind, folder, artifacts, time.perf_counter() - started)
    save_result(result)
    return result
