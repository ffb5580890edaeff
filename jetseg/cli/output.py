"""How verbs print what came out: JSON, plain lines and tables on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

from pydantic import BaseModel
from rich.console import Console
from rich.table import Column


def print_json(content: Any) -> None:  # noqa: ANN401 - anything that json takes
    """Prints what `--json` promises, and nothing else: results and records by their fields, paths as text."""
    sys.stdout.write(json.dumps(content, indent=2, default=_plain) + "\n")


def print_lines(*lines: str, style: str | None = None, console: Console | None = None) -> None:
    """Prints lines as they are: brackets in a path are no markup, and long ones are not broken."""
    for line in lines:
        (console or Console()).print(line, style=style, markup=False, emoji=False, highlight=False, soft_wrap=True)


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
