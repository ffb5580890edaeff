"""JSON and YAML of other people: data only, within bounds."""

from __future__ import annotations

import json
from typing import Any

import yaml

MOST_CHARACTERS = 10_000_000
MOST_DEPTH = 50
"""How deep lists and mappings may lie in each other."""
MOST_VALUES = 1_000_000
"""How many values a text may stand for; by aliases, a few lines can stand for billions."""


_BROKEN = (yaml.YAMLError, ValueError, LookupError, ArithmeticError, RecursionError)
"""What PyYAML raises, besides its own, for values that are none, as a date of month 13."""


class TextDataError(ValueError):
    """A text is no JSON or YAML, or goes beyond what it may."""


def parse_yaml(text: str) -> Any:  # noqa: ANN401 - whatever a text holds
    """Reads YAML.

    Raises:
        TextDataError: It is malformed, too long or too deep, or stands for too much.

    >>> parse_yaml("classes: [sky, road]")
    {'classes': ['sky', 'road']}
    """
    _check_length(text)
    try:
        loader = _PlainLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _count(node, {})
        return loader.construct_document(node)
    except TextDataError:
        raise
    except _BROKEN as error:
        raise TextDataError(str(error) or type(error).__name__) from error


def parse_json_or_yaml(text: str) -> Any:  # noqa: ANN401 - whatever a text holds
    """Reads JSON as JSON, and anything else as YAML.

    Raises:
        TextDataError: It is neither, too long or too deep, or stands for too much.
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


def _count(node: yaml.Node, known: dict[int, int]) -> int:
    """Returns how many values a node stands for if each alias is written out."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in known:
        known[id(node)] = -1  # under way
        parts = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
        known[id(node)] = 1 + sum(_count(part, known) for part in parts)
    if known[id(node)] < 0:
        raise TextDataError("a part of it refers to itself by an alias (*)")
    if known[id(node)] > MOST_VALUES:
        raise TextDataError(f"its aliases (*) make it stand for more than {MOST_VALUES:,} values")
    return known[id(node)]


class _PlainLoader(yaml.SafeLoader):
    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Builds one node; see yaml.Composer."""
        self._depth += 1
        if self._depth > MOST_DEPTH:
            raise TextDataError(f"it is more than {MOST_DEPTH} levels deep")
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node
