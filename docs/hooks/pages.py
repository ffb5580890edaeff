"""What the hooks share: pages that are made at each build, and their places in the navigation."""

from __future__ import annotations

from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files


def add(pages: dict[str, str], files: Files, config: MkDocsConfig) -> Files:
    """Adds pages, as path and Markdown, to the files of the site."""
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    return files


def fill(nav: list[Any], place: str, entries: list[Any]) -> None:
    """Puts entries where the navigation names `place`, at any depth."""
    for entry in nav:
        if not isinstance(entry, dict):
            continue
        for title, value in entry.items():
            if value == place:
                entry[title] = entries
            elif isinstance(value, list):
                fill(value, place, entries)
