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
    "registry": (
        "Registry and protocols",
        "What a package outside jetseg implements, and how it is found.",
        ("registry", "engine.backend", "data.contract", "compress.importance", "camera.contract"),
    ),
    "errors": ("Errors", "Every error that jetseg raises on purpose, and the exit code of each.", ("errors",)),
    "manifest": ("Manifest", "The file beside every artifact.", ("manifest", "measured", "manifest_file")),
}
SHOWN = {f"jetseg.{module}" for _, _, modules in FIRST.values() for module in modules}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Lists the pages in the navigation."""
    entries = [{"The public names": f"{FOLDER}/index.md"}]
    entries += [{title: f"{FOLDER}/{name}.md"} for name, (title, _, _) in FIRST.items()]
    entries += [{f"jetseg.{room}": f"{FOLDER}/{room}.md"} for room in _rooms()]
    pages.fill(config.nav or [], f"{FOLDER}/*", entries)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages."""
    public = _public_names()
    made = {f"{FOLDER}/index.md": _face(public)}
    for name, (title, text, modules) in FIRST.items():
        made[f"{FOLDER}/{name}.md"] = _page(title, text, [f"jetseg.{it}" for it in modules if _exists(it)], public)
    for room in _rooms():
        modules = [module for module in _modules(room) if module not in SHOWN]
        made[f"{FOLDER}/{room}.md"] = _page(f"jetseg.{room}", "", modules, public)
    return pages.add(made, files, config)


def _face(public: dict[str, str]) -> str:
    """The page of what `import jetseg` gives."""
    text = (
        "What `import jetseg` gives; a name is loaded when it is first used. Errors have [their own page](errors.md)."
    )
    objects = [f"::: {place}\n    options:\n      heading: jetseg.{name}" for name, place in public.items()]
    return "\n\n".join(["# The public names", text, *(objects or ["::: jetseg"])]) + "\n"


def _page(title: str, text: str, modules: list[str], public: dict[str, str]) -> str:
    """One page of modules, without the public names, which have theirs."""
    parts = [f"# {title}", text]
    for module in modules:
        hidden = "|".join(place.rpartition(".")[2] for place in public.values() if place.rpartition(".")[0] == module)
        parts.append(f"::: {module}" + (f'\n    options:\n      filters: ["!^_", "!^({hidden})$"]' if hidden else ""))
    return "\n\n".join(parts) + "\n"


def _public_names() -> dict[str, str]:
    """Where each name of `jetseg.__all__` is defined; without those of modules that have a page of their own."""
    package = griffe.load("jetseg", search_paths=[str(ROOT)])
    names = [str(name).strip("'\"") for name in package.exports or ()]
    # by what is imported, not by member: `train` is a package, too
    found = {name: package.modules_collection[package.imports[name]] for name in names if name in package.imports}
    places = {name: (it.final_target if it.is_alias else it).path for name, it in found.items()}
    return {name: place for name, place in places.items() if place.rpartition(".")[0] not in SHOWN}


def _rooms() -> list[str]:
    """Packages and single files of jetseg that have no page of their own yet, by name."""
    inside = (path for path in (ROOT / "jetseg").iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file())
    names = {path.stem for path in inside if not path.name.startswith("_")}
    return sorted(name for name in names - set(HIDDEN) if f"jetseg.{name}" not in SHOWN)


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
