"""Griffe extension: shows the examples of a docstring as code, not as text."""

from __future__ import annotations

import re

import griffe

_EXAMPLE = re.compile(r"(?:^|(?<=\n))(?P<indent> *)>>> .*(?:\n(?! *$).*)*", re.MULTILINE)


class Doctests(griffe.Extension):
    """Puts a fence around each block of lines that begins with `>>>`."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        """Rewrites the docstring of one object."""
        if obj.docstring and ">>> " in obj.docstring.value:
            obj.docstring.value = fenced(obj.docstring.value)


def fenced(text: str) -> str:
    """Returns the text with its examples in fences."""
    return _EXAMPLE.sub(lambda found: f"{found['indent']}```pycon\n{found.group()}\n{found['indent']}```", text)
