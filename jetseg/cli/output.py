"""How verbs print what came out: JSON, plain lines and tables on stdout."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

from pydantic import BaseModel
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Column

_COMMANDS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""What makes a terminal do something, turns text around, or cannot be written."""


class Terminal(Console):
    """A console on which text is text: brackets and colons are no markup, and control characters are spelled out.

    The only console of the command line, so that no name of a class, file or source can color, hide or forge a line.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Renders anything to segments; all that is printed comes through here."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=plain(segment.text))


def print_json(content: Any) -> None:  # noqa: ANN401 - anything that json takes
    """Prints what `--json` promises, and nothing else: results and records by their fields, paths as text."""
    sys.stdout.write(json.dumps(content, indent=2, default=_plain) + "\n")


def print_lines(*lines: str, style: str | None = None, console: Terminal | None = None) -> None:
    """Prints lines as they are; long ones are not broken."""
    for line in lines:
        (console or Terminal()).print(line, style=style, soft_wrap=True)


def print_table(table: RenderableType) -> None:
    """Prints a table on stdout."""
    Terminal().print(table)


def plain(text: str) -> str:
    r"""Spells out what a terminal would act on.

    >>> print(plain("pole\x1b[2J"))
    pole\x1b[2J
    """
    return _COMMANDS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def right(heading: str) -> Column:
    """Makes a column of figures."""
    return Column(heading, justify="right")


def figure(value: float | None, digits: int = 2, absent: str = "-") -> str:
    """Writes a figure that may be absent."""
    return absent if value is None else f"{value:.{digits}f}"


def origin(conditions: Mapping[str, Any]) -> str:
    """Writes what a network ran in and on, with versions, as figures are quoted with it."""
    ran = f"{conditions['precision']} in {conditions['backend']} on {conditions['device']}"
    return f"{ran}; {versions(conditions['toolchain'])}"


def versions(toolchain: Mapping[str, str]) -> str:
    """Lists the software of a toolchain."""
    return ", ".join(f"{name} {version}" for name, version in toolchain.items())


def _plain(value: Any) -> Any:  # noqa: ANN401 - what json has no word for
    if isinstance(value, BaseModel):
        return value.model_dump()
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else str(value)
