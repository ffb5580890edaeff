"""The public names are what the documentation says, in whatever order they are used."""

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import jetseg

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md")), *sorted(ROOT.glob("docs/**/*.ipynb"))]


@pytest.mark.parametrize("name", jetseg.__all__)
def test_a_name_stays_callable(name):
    """Packages of jetseg are imported on the way, and must not take its place."""
    for module in pkgutil.iter_modules(jetseg.__path__):
        if module.ispkg:
            importlib.import_module(f"jetseg.{module.name}")
    assert callable(getattr(jetseg, name))
    assert inspect.getdoc(getattr(jetseg, name))


def test_pages_use_names_that_exist():
    used = {name for page in PAGES for name in re.findall(r"jetseg\.([a-z_]+)\(", page.read_text("utf-8"))}
    assert used - set(jetseg.__all__) == set()
    assert used >= {"open_network", "calibrate", "build_engine", "open_engine", "evaluate", "train"}


def test_pages_name_files_and_what_is_in_them():
    """A page may say `NAME` in `jetseg/FILE.py`, and CONTRIBUTING where things are."""
    for page in [*PAGES, ROOT / "CONTRIBUTING.md"]:
        if page.parent.name in ("adr", "measurements"):  # written once, of their time
            continue
        text = page.read_text("utf-8")
        for place in re.findall(r"`(jetseg/[\w/]+(?:\.py)?)/?`", text):
            assert (ROOT / place).exists(), f"{page.name} names {place}"
        for names, place in re.findall(r"`(\w+)`(?: and `\w+`)?(?: are)? in\s`(jetseg/[\w/]+\.py)`", text):
            assert re.search(rf"^(?:def|class| +def) {names}\b", (ROOT / place).read_text("utf-8"), re.MULTILINE), names
