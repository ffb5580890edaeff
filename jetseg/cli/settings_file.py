"""Settings of training that stand in a YAML file or behind `--set`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from jetseg.errors import ConfigError
from jetseg.text_data import TextDataError, parse_data, read_data

Config = Annotated[
    Path | None, typer.Option(metavar="FILE", help="YAML file with any settings of training; options win over it.")
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Any other setting of training, as in augment.scale=[0.75,1.5]; may be repeated.",
    ),
]


def layered(file: Path | None, options: dict[str, Any], assignments: Sequence[str] | None) -> dict[str, Any]:
    """Returns the settings of a file, over them those of options, and over these those of `--set`.

    Raises:
        ConfigError: The file cannot be read, or an assignment is malformed.
    """
    values = _read(file) if file else {}
    for key, value in options.items():
        inner = values.get(key)
        values[key] = {**inner, **value} if isinstance(inner, dict) and isinstance(value, dict) else value
    for text in assignments or ():
        _assign(values, text)
    return values


def further(file: Path | None, options: dict[str, Any], assignments: Sequence[str] | None) -> dict[str, Any]:
    """Returns settings of a verb that trains besides: its options, and under `training` what file and `--set` say.

    What is set by `--set` is taken out of the options, which would win over it.
    """
    assigned = layered(None, {}, assignments)
    kept = {key: value for key, value in options.items() if key not in assigned}
    return {**kept, "training": layered(file, {}, assignments)}


def parsed(pairs: dict[str, str]) -> dict[str, Any]:
    """Returns options of a network with their values read as YAML; a.b=VALUE sets what lies inside.

    >>> parsed({"width": "24", "blocks": "[1, 2]"})
    {'width': 24, 'blocks': [1, 2]}
    """
    values: dict[str, Any] = {}
    for key, value in pairs.items():
        _assign(values, f"{key}={value}")
    return values


def _read(path: Path) -> dict[str, Any]:
    try:
        content = read_data(path)
    except (OSError, TextDataError) as error:
        raise ConfigError(f"{path} could not be read as YAML: {error}", "Check the file.") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds no settings.", "Write `key: value` lines, as in `epochs: 100`.")
    return content


def _assign(values: dict[str, Any], text: str) -> None:
    """Sets a.b.c=VALUE in nested dictionaries; VALUE is read as YAML."""
    path, equals, value = text.partition("=")
    *parents, key = path.split(".")
    if not equals or not key:
        raise ConfigError(f"{text!r} sets nothing.", "Write it as KEY=VALUE.")
    for parent in parents:
        inner = values.get(parent)
        values[parent] = dict(inner) if isinstance(inner, dict) else {}
        values = values[parent]
    try:
        values[key] = parse_data(value)
    except TextDataError as error:
        raise ConfigError(f"The value in {text!r} is not valid YAML.", "Quote it.") from error
