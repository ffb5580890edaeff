"""Writes the pages of the Python API, one per room, from what the source holds; nothing is imported."""

from __future__ import annotations

from pathlib import Path

import griffe
import pages
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files

FOLDER = "reference/api"
ROOT = Path(__file__).parents[2]
HIDDEN = ("cli", "shipped_engines")  # the verbs have pages of their own
FIRST = {
    "index": (
        "The public names",
        "Everything that `import jetseg` gives. Names are loaded when they are first used.",
        (),
    ),
    "registry": (
        "Registry and protocols",
        "What a package outside jetseg implements, and how it is found.",
        ("registry", "engine.contract", "data.contract", "camera.contract"),
    ),
    "errors": ("Errors", "Every error that jetseg raises on purpose, and the exit code of each.", ("errors",)),
    "manifest": ("Manifest", "The file beside every artifact.", ("manifest",)),
}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Lists the pages in the navigation."""
    entries = [{title: f"{FOLDER}/{name}.md"} for name, (title, _, _) in FIRST.items()]
    entries += [{f"jetseg.{room}": f"{FOLDER}/{room}.md"} for room in _rooms()]
    pages.fill(config.nav or [], f"{FOLDER}/*", entries)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages."""
    made: dict[str, str] = {}
    public = _public_names()
    for name, (title, text, modules) in FIRST.items():
        objects = public or ["jetseg"] if name == "index" else [f"jetseg.{it}" for it in modules if _exists(it)]
        made[f"{FOLDER}/{name}.md"] = _page(title, text, objects, () if name == "index" else public)
    shown = {f"jetseg.{module}" for _, _, modules in FIRST.values() for module in modules}
    for room in _rooms():
        made[f"{FOLDER}/{room}.md"] = _page(
            f"jetseg.{room}", "", [it for it in _modules(room) if it not in shown], public
        )
    return pages.add(made, files, config)


def _page(title: str, text: str, objects: list[str], elsewhere: list[str] | tuple[()]) -> str:
    """One page; what `elsewhere` names has its place on another one."""
    parts = [f"# {title}", text]
    for name in objects:
        hidden = "|".join(other.rpartition(".")[2] for other in elsewhere if other.rpartition(".")[0] == name)
        parts.append(f"::: {name}" + (f'\n    options:\n      filters: ["!^_", "!^({hidden})$"]' if hidden else ""))
    return "\n\n".join(parts) + "\n"


def _public_names() -> list[str]:
    """Where the names of `jetseg.__all__` are defined."""
    package = griffe.load("jetseg", search_paths=[str(ROOT)], submodules=False)
    names = [str(name).strip("'\"") for name in package.exports or ()]
    found = [package.members[name] for name in names if name in package.members and not name.startswith("_")]
    return [member.target_path if member.is_alias else member.path for member in found]


def _rooms() -> list[str]:
    """Packages and single files of jetseg that have no page of their own yet, by name."""
    taken = {module for _, _, modules in FIRST.values() for module in modules}
    inside = (path for path in (ROOT / "jetseg").iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file())
    names = {path.stem for path in inside if not path.name.startswith("_")}
    return sorted(names - taken - set(HIDDEN))


def _modules(room: str) -> list[str]:
    """The modules of a room, at any depth, without private ones."""
    folder = ROOT / "jetseg" / room
    if not folder.is_dir():
        return [f"jetseg.{room}"]
    files = [path for path in sorted(folder.rglob("*.py")) if not path.name.startswith("_")]
    return [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files]


def _exists(module: str) -> bool:
    path = ROOT.joinpath("jetseg", *module.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()
