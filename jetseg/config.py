"""Settings: written once as models, from which command line, recipes and Python calls take names, bounds and help."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from jetseg.errors import ConfigError

SettingsT = TypeVar("SettingsT", bound=BaseModel)
_MOST_MISTAKES = 20
"""How many mistakes a message names: a file of others may hold as many as it has bytes."""
_MOST_SHOWN = 500
"""Characters of a key or a mistake that are shown."""


class Record(BaseModel):
    """Base of everything that is written to a file: immutable, unknown keys refused, every number finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Settings(Record):
    """Base of the settings of a stage; the description of a field is its help wherever it is shown."""


@dataclass(frozen=True)
class Cli:
    """How a setting looks on the command line, where its name and type do not tell; stands in `Annotated`.

    Attributes:
        metavar: What stands for its value in the help.
        flag: Its option, where that is not its name.
        registry: Name of a registry in `jetseg.registry`, whose parts the help lists.
        hidden: Not an option of its own.
        joins: Name of a number whose option takes NAME=VALUE as well, for this mapping, as in --max-drop 0.5 and
            --max-drop depth_rmse=2%.
    """

    metavar: str | None = None
    flag: str | None = None
    registry: str | None = None
    hidden: bool = False
    joins: str | None = None


def validate_config(model: type[SettingsT], values: Mapping[str, Any]) -> SettingsT:
    """Builds settings from values.

    Raises:
        ConfigError: Some are wrong; all mistakes are named together.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError(f"These settings are wrong:\n{explain(error)}") from error


def changed(settings: SettingsT, **changes: Any) -> SettingsT:  # noqa: ANN401 - whatever the fields hold
    """Returns settings with other values, checked as if they had been given so; fields that were not given stay so.

    Raises:
        ConfigError: Some changes are wrong; all mistakes are named together.
    """
    given = {name: getattr(settings, name) for name in settings.model_fields_set}
    return validate_config(type(settings), {**given, **changes})


def explain(error: ValidationError, keys: Mapping[str, str] | None = None) -> str:
    """Lists the mistakes that pydantic found, one per line, each with the key's path; of very many, the first.

    Args:
        error: What pydantic raised.
        keys: Other names of keys, where a file has them.
    """
    lines: dict[str, str] = {}
    for mistake in error.errors(include_url=False, include_context=False, include_input=False):
        key = ".".join(str(part) for part in mistake["loc"]) or "(whole file)"
        shown = _shortened((keys or {}).get(key, key))
        lines.setdefault(shown, f"  {shown}: {_shortened(mistake['msg'])}")
    listed = list(lines.values())
    more = len(listed) - _MOST_MISTAKES
    return "\n".join([*listed[:_MOST_MISTAKES], *([f"  and {more} more."] if more > 0 else [])])


def _shortened(text: str) -> str:
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."
