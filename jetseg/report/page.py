"""Fills the page's template. The only place that imports jinja2."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources

from jetseg.errors import MissingDependencyError
from jetseg.report.table import short_bytes, short_count, signed

try:
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup
except ImportError as error:  # pragma: no cover - depends on the machine
    raise MissingDependencyError("jinja2", "report", "writes the report's page") from error

_STRONGEST_TINT = 10.0
"""A change of this many points or more gets the strongest tint."""


def fill_page(content: Mapping[str, object], figures: Mapping[str, str], template: str = "report/page.html") -> str:
    """Returns the report as one HTML page that needs nothing else.

    Args:
        content: Everything that the template names; all text in it is escaped.
        figures: SVG by name, from `jetseg.report.figures`, put in as it is.
        template: The template, by its place in jetseg.
    """
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        loader=FunctionLoader(_read),
    )
    environment.filters.update(count=short_count, bytes=short_bytes, signed=signed, tint=_tint, number=_number)
    # matplotlib has escaped the text in it
    drawn = {name: Markup(svg) for name, svg in figures.items()}
    return environment.get_template(template).render(**content, figures=drawn)


def _read(template: str) -> str:
    return resources.files("jetseg").joinpath(template).read_text(encoding="utf-8")


def _number(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _tint(change: float | None) -> str:
    """Returns the CSS background of a change: red for a loss, green for a gain, stronger the larger it is."""
    if change is None:
        return "transparent"
    strength = min(abs(change) / _STRONGEST_TINT, 1.0) * 0.45
    color = "214, 69, 65" if change < 0 else "46, 160, 103"
    return f"rgba({color}, {strength:.3f})"
