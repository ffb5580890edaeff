"""Temporary files and folders that are marked as in use, so that those of killed processes can be told and removed."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from jetseg.locking import hold, is_at, taken_if_abandoned

_RANDOM = "[a-z0-9_]{8}"
"""What `tempfile` puts into a name."""


def make_temporary_file(path: Path) -> tuple[int, Path]:
    """Makes a file beside `path`, of its suffix, and removes what killed processes left of the same output.

    Returns:
        A descriptor, which marks the file as long as it is open, and the file.
    """
    begin, end = f".{path.stem}.", f".part{path.suffix}"
    _remove_leftovers(path.parent, begin, end)
    while True:
        descriptor, name = tempfile.mkstemp(prefix=begin, suffix=end, dir=path.parent)
        if _is_marked(descriptor, Path(name)):
            return descriptor, Path(name)
        os.close(descriptor)


def make_temporary_folder(prefix: str, parent: Path) -> tuple[int, Path]:
    """Makes a folder whose name begins with `prefix`, as none of others does; see `make_temporary_file`."""
    _remove_leftovers(parent, prefix)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        with suppress(FileNotFoundError):
            descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
            if _is_marked(descriptor, folder):
                return descriptor, folder
            os.close(descriptor)


def _is_marked(descriptor: int, path: Path) -> bool:
    """Marks what was just made as in use; False if whoever removes leftovers was faster, and it goes."""
    return hold(descriptor) is not False and is_at(descriptor, path)


def _remove_leftovers(folder: Path, begin: str, end: str = "") -> None:
    """Removes files and folders of ours whose names fit and that no living process has in use."""
    for path in folder.iterdir():
        if not re.fullmatch(re.escape(begin) + _RANDOM + re.escape(end), path.name):
            continue
        with suppress(OSError), taken_if_abandoned(path) as abandoned:
            if abandoned and path.lstat().st_uid == os.geteuid():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
