"""Files that are written whole or not at all, and their hashes."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from jetseg.errors import ConfigError, StorageError
from jetseg.locking import only_writer
from jetseg.temporary import make_temporary_file, make_temporary_folder

_SPARE_BYTES = 64 << 20


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
    """Gives a temporary path beside `path`; on success it becomes `path`, and is on the disk.

    Raises:
        StorageError: The disk is full or read-only, or the folder cannot be made.
    """
    with temporary_path(path) as temporary:
        yield temporary
        put(temporary, path)


@contextmanager
def temporary_path(path: Path) -> Iterator[Path]:
    """Gives the path of an empty file beside `path` that is gone in the end; `put` it in its place before.

    Its name keeps the suffix of `path`, because writers such as OpenCV choose a format by it. What killed processes
    left of the same output is removed.

    Raises:
        StorageError: The disk is full or read-only, or the folder cannot be made.
    """
    try:
        make_folder(path.parent)
        descriptor, temporary = make_temporary_file(path)
    except OSError as error:
        raise storage_error(path, error) from error
    try:
        yield temporary
    except OSError as error:
        raise storage_error(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        os.close(descriptor)


@contextmanager
def writing(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Keeps other processes from writing the same output, from before the work that makes it until it is there.

    Args:
        path: The output.
        wait: Wait for another process that writes it.

    Raises:
        ConfigError: Another process writes it already.
        StorageError: Nothing can be written there.
    """
    with ExitStack() as stack:
        try:
            make_folder(path.parent)
            stack.enter_context(only_writer(path, wait=wait))
        except OSError as error:
            raise storage_error(path, error) from error
        yield


@contextmanager
def scratch_folder(prefix: str, within: Path | None = None) -> Iterator[Path]:
    """Gives a folder for files that are needed for a while; those that killed processes left are removed.

    Args:
        prefix: Begin of its name, which nothing else uses.
        within: Folder to make it in; the system's for temporary files by default.
    """
    descriptor, folder = make_temporary_folder(prefix, within or Path(tempfile.gettempdir()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def put(source: Path, target: Path) -> None:
    """Renames a file that is written, so that after a power cut there is either the one before or this one.

    Raises:
        StorageError: The disk is full or read-only.
    """
    try:
        _sync(source)
        source.chmod(0o644)
        source.replace(target)
        sync_folder(target.parent)
    except OSError as error:
        raise storage_error(target, error) from error


def make_folder(folder: Path) -> None:
    """Makes a folder, and those that it lies in, so that they are there after a power cut."""
    missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in missing:
        sync_folder(made.parent)


def sync_folder(folder: Path) -> None:
    """Sees to it that names in a folder are on the disk, where the file system can do that for a folder."""
    try:
        _sync(folder)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise


def sync_tree(folder: Path) -> None:
    """Sees to it that a folder is on the disk with all that is in it; links are not followed."""
    for place, _, names in os.walk(folder):
        for name in names:
            if not (file := Path(place, name)).is_symlink():
                _sync(file)
        sync_folder(Path(place))
    sync_folder(folder.parent)


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


def check_room(source: Path, folder: Path, needed: int) -> None:
    """Refuses to begin what a disk has too little room for, and leaves some to others.

    Args:
        source: What needs it, for the message.
        folder: Where.
        needed: Bytes.

    Raises:
        StorageError: It has too little.
    """
    free = shutil.disk_usage(folder).free
    if free < needed + _SPARE_BYTES:
        raise StorageError(
            f"{source} needs {(needed + _SPARE_BYTES) / 1e6:.0f} MB in {folder}, where {free / 1e6:.0f} MB are free.",
            "Free some space, or set TMPDIR to a folder on a larger disk.",
        )


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
