"""The networks that come with jetseg, opened by name."""

from __future__ import annotations

from pathlib import Path

ENGINE_SUFFIX = ".int8.onnx"


def find_artifact(path: Path) -> Path:
    """Returns the file that is meant: the path itself, or a shipped network of that name.

    `camvid-light` means its INT8 engine for the CPU, `camvid-light.onnx` its float network. A file of one's own
    with the same path wins.

    >>> find_artifact(Path("no/such/file.onnx")).as_posix()
    'no/such/file.onnx'
    """
    if path.exists() or path.name != str(path):
        return path
    for name in (path.name, f"{path.name}{ENGINE_SUFFIX}"):
        shipped = _folder() / name
        if shipped.is_file():
            return shipped
    return path


def shipped_names() -> tuple[str, ...]:
    """Returns the names of the shipped networks."""
    return tuple(sorted(path.name.removesuffix(ENGINE_SUFFIX) for path in _folder().glob(f"*{ENGINE_SUFFIX}")))


def _folder() -> Path:
    """The folder engines/, of which the package holds a link, and the installed package a copy."""
    package = Path(__file__).parent
    inside = package / "shipped_engines"
    return inside if inside.is_dir() else package.parent / "engines"
