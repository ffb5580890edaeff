"""Puts what a benchmark found into its place on a page of the documentation."""

from __future__ import annotations

from pathlib import Path


def put_into(page: Path, name: str, text: str) -> None:
    """Replaces what stands on a page between the comments `begin NAME` and `end NAME`."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    before, _, rest = page.read_text("utf-8").partition(begin)
    _, _, after = rest.partition(end)
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", "utf-8")
