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
