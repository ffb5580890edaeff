"""JSON and YAML of other people: data only, within bounds."""

from __future__ import annotations

import json
from typing import Any

import yaml

MOST_CHARACTERS = 10_000_000
MOST_DEPTH = 50
"""How deep lists and mappings may lie in each other."""


class TextDataError(ValueError):
    """A text is no JSON or YAML, or goes beyond what it may."""


def parse_yaml(text: str) -> Any:  # noqa: ANN401 - whatever a text holds
    """Reads YAML without aliases, by which a few lines can stand for gigabytes.

    Raises:
        TextDataError: It is malformed, too long or too deep, or has an alias.

    >>> parse_yaml("classes: [sky, road]")
    {'classes': ['sky', 'road']}
    """
    _check_length(text)
    try:
        return yaml.load(text, _PlainLoader)
    except TextDataError:
        raise
    except (
        yaml.YAMLError,
        ValueError,
        LookupError,
        ArithmeticError,
        RecursionError,
    ) as error:  # such as a date of month 13
        raise TextDataError(str(error) or type(error).__name__) from error


def parse_json_or_yaml(text: str) -> Any:  # noqa: ANN401 - whatever a text holds
    """Reads JSON as JSON, and anything else as YAML.

    Raises:
        TextDataError: It is neither, too long or too deep, or has an alias.
    """
    _check_length(text)
    try:
        return json.loads(text)
    except RecursionError as error:
        raise TextDataError(f"it is more than {MOST_DEPTH} levels deep") from error
    except ValueError:
        return parse_yaml(text)


def _check_length(text: str) -> None:
    if len(text) > MOST_CHARACTERS:
        raise TextDataError(f"it has {len(text)} characters, and at most {MOST_CHARACTERS} are read")


class _PlainLoader(yaml.SafeLoader):
    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Builds one node; see yaml.Composer."""
        if self.check_event(yaml.AliasEvent):
            raise TextDataError("it has an alias (*), which is not read: write the content again in its place")
        self._depth += 1
        if self._depth > MOST_DEPTH:
            raise TextDataError(f"it is more than {MOST_DEPTH} levels deep")
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node
