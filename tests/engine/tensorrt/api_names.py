"""Finds the names of TensorRT's interface that our source uses."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jetseg.engine

FOLDERS = [Path(jetseg.engine.__path__[0]) / name for name in ("tensorrt", "tensorrt_rtx")]
OBJECTS = {
    "builder": "Builder",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "settings": "IBuilderConfig",
    "profile": "IOptimizationProfile",
    "cache": "ITimingCache",
    "runtime": "Runtime",
    "_runtime": "Runtime",
    "engine": "ICudaEngine",
    "_engine": "ICudaEngine",
    "context": "IExecutionContext",
    "_context": "IExecutionContext",
    "inspector": "EngineInspector",
    "error": "ParserError",
}
"""What our variables of these names hold, in the files that `OBJECT_FILES` lists for them."""
OBJECT_FILES = {
    "cache": {"timing.py"},
    "error": {"problems.py"},
    "_context": {"runtime.py"},
    "context": {"runtime.py"},
    "network": {"plan.py"},
    "runtime": {"layers.py", "build.py"},
}


class Use(NamedTuple):
    """One use: `member` is None for a name of the module itself."""

    file: str
    owner: str
    member: str | None


def uses_in(folder: Path) -> set[Use]:
    """Returns the names that the files of a folder use."""
    return {use for path in folder.glob("*.py") for use in uses_of(path.name, path.read_text(encoding="utf-8"))}


def uses_of(file: str, source: str) -> Iterator[Use]:
    """Yields the names that a source text uses: `trt.X`, `trt.X.Y`, `hasattr(trt, "X")`, attributes of the objects
    that TensorRT makes, and what a subclass of one of its interfaces overrides.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            yield from _attribute(file, node)
        elif isinstance(node, ast.ClassDef):
            yield from _overrides(file, node)
        elif isinstance(node, ast.Call) and ast.unparse(node).startswith("hasattr(trt, "):
            yield Use(file, node.args[1].value, None)
        elif isinstance(node, ast.Call) and ast.unparse(node).startswith("hasattr(trt."):
            yield Use(file, node.args[0].attr, node.args[1].value)


def _attribute(file: str, node: ast.Attribute) -> Iterator[Use]:
    value = node.value
    if isinstance(value, ast.Name) and value.id == "trt":
        if not node.attr.startswith("__"):
            yield Use(file, node.attr, None)
    elif isinstance(value, ast.Attribute) and isinstance(value.value, ast.Name) and value.value.id == "trt":
        if not node.attr.startswith("__"):
            yield Use(file, value.attr, node.attr)
    elif isinstance(value, (ast.Name, ast.Attribute)):
        name = value.id if isinstance(value, ast.Name) else value.attr
        if name in OBJECTS and file in OBJECT_FILES.get(name, {file}) and node.attr not in OBJECTS:
            yield Use(file, OBJECTS[name], node.attr)


def _overrides(file: str, node: ast.ClassDef) -> Iterator[Use]:
    for base in node.bases:
        if isinstance(base, ast.Attribute) and isinstance(base.value, ast.Name) and base.value.id == "trt":
            for item in node.body:
                if isinstance(item, ast.FunctionDef) and not item.name.startswith("_"):
                    yield Use(file, base.attr, item.name)
