"""JSON and YAML of other people: data only, within bounds."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

MOST_CHARACTERS = 4_000_000
MOST_YAML_CHARACTERS = 400_000
"""YAML is for what people write, and reading it takes some ten seconds for each million characters."""
MOST_DEPTH = 50
"""How deep lists and mappings may lie in each other."""
MOST_VALUES = 100_000
"""How many values a text may hold."""
_BROKEN = (yaml.YAMLError, ValueError, LookupError, ArithmeticError, RecursionError)
"""What PyYAML raises, besides its own, for values that are none."""
_BYTES_PER_CHARACTER = 4
_TAG = "tag:yaml.org,2002:"


class TextDataError(ValueError):
    """A text is no JSON or YAML, or goes beyond what it may."""


def read_data(path: Path) -> Any:  # noqa: ANN401 - whatever a file holds
    """Reads a file of JSON or YAML; see `read_content` and `parse_content`."""
    return parse_content(read_content(path))


def read_content(path: Path) -> bytes:
    """Reads the bytes of a file for `parse_content`, which refuses those of one that is too long.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as stream:
        return stream.read(MOST_CHARACTERS * _BYTES_PER_CHARACTER + 1)


def parse_content(content: bytes) -> Any:  # noqa: ANN401 - whatever a file holds
    """Reads the bytes of a file of JSON or YAML; see `parse_data`.

    Raises:
        TextDataError: They are not UTF-8, or no such data.
    """
    try:
        return parse_data(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise TextDataError(str(error)) from error


def parse_data(text: str) -> Any:  # noqa: ANN401 - whatever a text holds
    """Reads JSON as JSON, and anything else as YAML.

    YAML is read as YAML 1.2 has it: the values of JSON, keys that are text, no aliases. `1e-05` is a number, `no` and
    `2026-01-31` are text.

    Raises:
        TextDataError: It is neither, or too long, too deep or of too many values.

    >>> parse_data("classes: [sky, road]")
    {'classes': ['sky', 'road']}
    """
    if len(text) > MOST_CHARACTERS:
        raise _too_long(MOST_CHARACTERS)
    try:
        content = json.loads(text)
    except RecursionError as error:
        raise TextDataError(f"it is more than {MOST_DEPTH} levels deep") from error
    except ValueError:
        return _parse_yaml(text)
    _check_bounds(content)
    return content


def _check_bounds(content: Any) -> None:  # noqa: ANN401 - whatever a text holds
    level, count = [content], 0
    for _ in range(MOST_DEPTH + 1):
        count += len(level)
        if count > MOST_VALUES:
            raise _too_many()
        held = [value for value in level if isinstance(value, (dict, list))]
        level = [part for value in held for part in (value.values() if isinstance(value, dict) else value)]
        if not level:
            return
    raise _too_deep()


def _parse_yaml(text: str) -> Any:  # noqa: ANN401 - whatever a text holds
    if len(text) > MOST_YAML_CHARACTERS:
        raise _too_long(MOST_YAML_CHARACTERS, " of YAML; what is longer must be JSON")
    try:
        return _PlainLoader(text).get_single_data()
    except TextDataError:
        raise
    except _BROKEN as error:
        raise TextDataError(str(error) or type(error).__name__) from error


def _too_long(most: int, what: str = "") -> TextDataError:
    return TextDataError(f"it has more than {most:,} characters{what}")


def _too_deep() -> TextDataError:
    return TextDataError(f"it is more than {MOST_DEPTH} levels deep")


def _too_many() -> TextDataError:
    return TextDataError(f"it holds more than {MOST_VALUES:,} values")


class _PlainLoader(yaml.SafeLoader):
    """Gives the values of JSON, as the core schema of YAML 1.2 writes them; all other tags are refused."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - as PyYAML has it
    yaml_constructors = {}  # noqa: RUF012
    _depth, _count = 0, 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Builds one node; see yaml.Composer."""
        if self.check_event(yaml.AliasEvent):
            raise TextDataError("it repeats a part by an alias (*), which is not read: write it out")
        self._depth, self._count = self._depth + 1, self._count + 1
        if self._depth > MOST_DEPTH:
            raise _too_deep()
        if self._count > MOST_VALUES:
            raise _too_many()
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def plain_mapping(self, node: yaml.Node) -> dict[str, Any]:
        """Returns a mapping whose keys are text, as they are written."""
        if not isinstance(node, yaml.MappingNode):
            raise TextDataError("a part is tagged as a mapping and is none")
        return {_text(key): self.construct_object(value, deep=True) for key, value in node.value}

    def plain_list(self, node: yaml.Node) -> list[Any]:
        """Returns a list."""
        if not isinstance(node, yaml.SequenceNode):
            raise TextDataError("a part is tagged as a list and is none")
        return [self.construct_object(value, deep=True) for value in node.value]

    def refused(self, node: yaml.Node) -> None:
        """Refuses a value of any other kind."""
        raise TextDataError(f"a part is tagged {node.tag}, which is no value of JSON")


def _text(node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise TextDataError("a list or mapping stands where a key or a single value belongs")
    return str(node.value)


def _int(text: str) -> int:
    return int(text, {"0x": 16, "0o": 8}.get(text[:2], 10))


def _float(text: str) -> float:
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


_SCALARS: dict[str, tuple[str | None, Callable[[str], Any]]] = {
    "null": (r"~|null|Null|NULL|", lambda _: None),
    "bool": (r"true|True|TRUE|false|False|FALSE", lambda text: {"true": True, "false": False}[text.lower()]),
    "int": (r"[-+]?[0-9]+|0o[0-7]{1,20}|0x[0-9a-fA-F]{1,16}", _int),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        _float,
    ),
    "str": (None, str),
}
"""Single values of the core schema: how they are written where no tag names them (the first that fits counts)."""


def _add_constructors() -> None:
    def add_scalar(name: str, form: str | None, read: Callable[[str], Any]) -> None:
        _PlainLoader.add_constructor(f"{_TAG}{name}", lambda loader, node: read(_text(node)))  # noqa: ARG005
        if form is not None:
            _PlainLoader.add_implicit_resolver(f"{_TAG}{name}", re.compile(rf"(?:{form})\Z"), None)

    for name, (form, read) in _SCALARS.items():
        add_scalar(name, form, read)
    _PlainLoader.add_constructor(f"{_TAG}seq", _PlainLoader.plain_list)
    _PlainLoader.add_constructor(f"{_TAG}map", _PlainLoader.plain_mapping)
    _PlainLoader.add_constructor(None, _PlainLoader.refused)


_add_constructors()
