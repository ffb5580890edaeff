"""What a recipe file says."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from jetseg.config import Record, validate_config
from jetseg.errors import ConfigError
from jetseg.recipes.stages import KINDS, RENAMED
from jetseg.text_data import TextDataError, parse_data, read_data

_LOG = logging.getLogger(__name__)

SUFFIX = ".yaml"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class StageSpec:
    """One stage of a recipe.

    Attributes:
        name: Its own name in the recipe; the file that it makes is referred to as "@name".
        kind: What is done; a key of `jetseg.recipes.stages.KINDS`.
        settings: Settings of that stage; those that follow from earlier stages may be left out.
    """

    name: str
    kind: str
    settings: dict[str, Any]


class Recipe(Record):
    """A chain of stages.

    Attributes:
        description: What comes out, in a sentence.
        stages: One mapping per stage: `stage` names its kind, `name` the stage itself (by default its kind), and
            all other keys are its settings.
    """

    description: str
    stages: tuple[dict[str, Any], ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        names = [spec.name for spec in self.specs()]
        odd = [name for name in names if not _NAME.fullmatch(name)]
        if odd:
            raise ValueError(f"{odd[0]!r} names no folder: use letters, digits, '.', '_' and '-'")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two stages have the name {', '.join(twice)}: give each a `name` of its own")
        return self

    def specs(self) -> list[StageSpec]:
        """Returns the stages in order."""
        specs = []
        for number, entry in enumerate(self.stages, 1):
            settings = dict(entry)
            kind = settings.pop("stage", None)
            kind = RENAMED.get(kind, kind) if isinstance(kind, str) else kind
            if not isinstance(kind, str) or kind not in KINDS:
                raise ValueError(f"stage {number}: `stage` is {kind!r}, and must be one of {', '.join(KINDS)}")
            specs.append(StageSpec(str(settings.pop("name", entry["stage"])), kind, settings))
        return specs


def load_recipe(name_or_path: str, changes: Sequence[str] = ()) -> Recipe:
    """Reads a recipe.

    Args:
        name_or_path: A file, or the name of a recipe that comes with jetseg.
        changes: Settings to change, as in "student.epochs=2"; the value is read as YAML.

    Raises:
        ConfigError: There is no such recipe, or it is malformed, or a change names no stage.
    """
    path = _find(name_or_path)
    try:
        content = read_data(path)
    except (OSError, TextDataError) as error:
        raise ConfigError(f"{path} could not be read as YAML: {error}", "Check the file.") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds no recipe.", "Write `description:` and `stages:`.")
    recipe = validate_config(Recipe, content)
    for old in {entry["stage"] for entry in recipe.stages} & set(RENAMED):
        _LOG.warning("The stage `%s` is now called `%s`; the old name goes with 0.3.", old, RENAMED[old])
    for change in changes:
        recipe = _changed(recipe, change)
    return recipe


def recipe_names() -> tuple[str, ...]:
    """Returns the names of the recipes that come with jetseg."""
    return tuple(sorted(path.stem for path in Path(__file__).parent.glob(f"*{SUFFIX}")))


def _find(name_or_path: str) -> Path:
    shipped = Path(__file__).parent / f"{name_or_path}{SUFFIX}"
    if name_or_path in recipe_names():
        return shipped
    path = Path(name_or_path)
    if not path.is_file():
        raise ConfigError(f"There is no recipe {name_or_path}.", f"Give a file, or one of {', '.join(recipe_names())}.")
    return path


def _changed(recipe: Recipe, change: str) -> Recipe:
    place, equals, text = change.partition("=")
    stage, dot, key = place.partition(".")
    names = [spec.name for spec in recipe.specs()]
    if not (equals and dot and key) or stage not in names:
        raise ConfigError(
            f"{change!r} changes nothing.", f"Write it as STAGE.KEY=VALUE; the stages are {', '.join(names)}."
        )
    try:
        value = parse_data(text)
    except TextDataError as error:
        raise ConfigError(f"The value in {change!r} is not valid YAML.", "Quote it.") from error
    stages = list(recipe.stages)
    position = names.index(stage)
    stages[position] = _with(stages[position], key.split("."), value)
    return validate_config(Recipe, {**recipe.model_dump(), "stages": tuple(stages)})


def _with(settings: dict[str, Any], keys: Sequence[str], value: Any) -> dict[str, Any]:  # noqa: ANN401 - any YAML value
    first, *rest = keys
    inner = settings.get(first)
    return {**settings, first: _with(inner if isinstance(inner, dict) else {}, rest, value) if rest else value}
