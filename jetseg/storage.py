"""Files that are written whole or not at all, and their hashes."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from jetseg.errors import ConfigError, StorageError


def write_bytes(path: Path, content: bytes) -> None:
    """Writes `content` to `path` atomically; an earlier file stays whole if that fails.

    Raises:
        StorageError: The disk is full or read-only, or the folder cannot be made.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Writes `content` as UTF-8 to `path` atomically; see `write_bytes`."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: Any) -> None:  # noqa: ANN401 - anything that json accepts
    """Writes `content` as indented JSON to `path` atomically; see `write_bytes`."""
    write_text(path, json.dumps(content, indent=2) + "\n")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Gives a temporary path beside `path`; on success it is synced and renamed to `path`.

    The temporary name keeps the suffix of `path`, because writers such as OpenCV choose a format by it.

    Raises:
        StorageError: The disk is full or read-only, or the folder cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=f".part{path.suffix}", dir=path.parent)
        os.close(descriptor)
    except OSError as error:
        raise storage_error(path, error) from error
    temporary = Path(name)
    try:
        yield temporary
        _sync(temporary)
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise storage_error(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def sha256_file(path: Path) -> str:
    """Returns the SHA-256 of a file as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def storage_error(path: Path, error: OSError) -> StorageError:
    """Turns an operating system error about `path` into a message that says what to do."""
    reason = error.strerror or str(error)
    return StorageError(
        f"{path} could not be written: {reason}.",
        "Free some space or give another place; files that were there before are unchanged.",
    )


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_output(out: Path, suffix: str, reads: Iterable[Path] = ()) -> None:
    """Refuses a place that cannot be written to: one of another kind, one that is read, or see `check_place`.

    Raises:
        ConfigError: It is such a place.
        StorageError: Nothing can be written there.
    """
    if out.suffix != suffix:
        raise ConfigError(f"`out` must end in {suffix}, and {out.name} does not.", "Rename it.")
    for path in reads:
        if path.resolve() == out.resolve():
            raise ConfigError(f"`out` must be another file than {path}, which is read.", "Give another one.")
    check_place(out)


def check_place(out: Path) -> None:
    """Refuses a file that could not be written later, before the work whose result it shall hold.

    Raises:
        ConfigError: There is a folder of that name.
        StorageError: Its folder, or the one to make it in, takes no files.
    """
    if out.is_dir():
        raise ConfigError(f"{out} is a folder, and a file is to be written there.", "Name a file in it.")
    folder = next((parent for parent in out.parents if parent.exists()), Path.cwd())
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise storage_error(out, error) from error
