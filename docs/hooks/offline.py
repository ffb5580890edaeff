"""Fails the build if a page loads anything from elsewhere."""

from __future__ import annotations

import re

from mkdocs.exceptions import PluginError
from mkdocs.structure.pages import Page

# The link to the page's own address is not loaded; every other source and style sheet is.
_LOADED = re.compile(
    r"""<(?:script|img|iframe|source)[^>]+src=["']?https?:|<link[^>]+rel=["']?stylesheet[^>]+https?:"""
)


def on_post_page(output: str, page: Page, **_: object) -> str:
    """Looks at the finished page."""
    found = _LOADED.search(output)
    if found:
        raise PluginError(f"{page.file.src_path} loads something from elsewhere: {found.group()}")
    return output
