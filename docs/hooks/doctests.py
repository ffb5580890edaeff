"""Griffe extension: shows examples and drawings of a docstring as code, not as text."""

from __future__ import annotations

import re

import griffe

_EXAMPLE = re.compile(r"(?:^|(?<=\n))(?P<indent> *)>>> .*(?:\n(?! *$).*)*", re.MULTILINE)
_DRAWING = re.compile(r"(?:^|(?<=\n\n))(?:.+\n)*.*[├└].*(?:\n.+)*")


class Doctests(griffe.Extension):
    """Puts a fence around each block of lines that begins with `>>>`, and around trees."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        """Rewrites the docstring of one object."""
        if obj.docstring:
            obj.docstring.value = fenced(obj.docstring.value)


def fenced(text: str) -> str:
    """Returns the text with its examples and drawings in fences."""
    text = _DRAWING.sub(lambda found: f"```text\n{found.group()}\n```", text)
    return _EXAMPLE.sub(lambda found: f"{found['indent']}```pycon\n{found.group()}\n{found['indent']}```", text)
