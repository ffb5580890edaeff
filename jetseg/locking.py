"""Locks that die with the process that holds them, so that none is ever stale."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock, get_ident

from jetseg.errors import ConfigError


@dataclass
class _Held:
    """A lock of this process.

    Attributes:
        descriptor: The lock file; closing any other descriptor of it would give the lock away.
        process: Who took it; a forked child inherits this entry and not the lock.
        thread: Whose it is.
        depth: How often that thread took it.
    """

    descriptor: int
    process: int
    thread: int
    depth: int = 1


_HELD: dict[Path, _Held] = {}
_GUARD = Lock()


@contextmanager
def only_writer(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Keeps other writers away from an output; its folder must exist. The same thread may take it again.

    The lock is a POSIX record lock on `.NAME.lock` beside the output: the system frees it when the process ends,
    however it ends, and a forked worker that outlives its parent does not hold it. The file goes when the lock is
    given back.

    Args:
        path: The output.
        wait: Wait until another process that writes there has ended, in place of an error.

    Raises:
        ConfigError: Another process, or another thread of this one, writes there.
        OSError: The lock file cannot be made.
    """
    lock = path.parent.resolve() / f".{path.name}.lock"
    with _GUARD:
        held = _HELD.get(lock)
        if held is None or held.process != os.getpid():
            held = _HELD[lock] = _Held(_locked(lock, path, wait=wait), os.getpid(), get_ident())
        elif held.thread == get_ident():
            held.depth += 1
        else:
            raise _refusal(path, "Another thread of this process")
    try:
        yield
    finally:
        with _GUARD:
            held.depth -= 1
            if not held.depth:
                del _HELD[lock]
                with suppress(OSError):
                    lock.unlink(missing_ok=True)
                os.close(held.descriptor)


def hold(descriptor: int) -> bool | None:
    """Marks an open file or folder as in use until its descriptor is closed, in forked children too.

    Returns:
        True if it is ours now, False if somebody else uses it, and None if this file system cannot tell.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


@contextmanager
def taken_if_abandoned(path: Path) -> Iterator[bool]:
    """Tells whether whoever marked a file or folder with `hold` is gone; then it is ours inside, as to remove it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        yield False
        return
    try:
        yield hold(descriptor) is True
    finally:
        os.close(descriptor)


def _locked(lock: Path, path: Path, *, wait: bool) -> int:
    """Opens and locks the lock file, and writes into it who did."""
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            with suppress(PermissionError):
                os.fchmod(descriptor, 0o666)  # one that root left must not keep others out
            fcntl.lockf(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if is_at(descriptor, lock):  # else the writer before took it away in between
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, str(os.getpid()).encode(), 0)
                return descriptor
        except BlockingIOError as error:
            owner = os.pread(descriptor, 20, 0).decode(errors="replace")
            os.close(descriptor)
            raise _refusal(path, f"Process {owner}" if owner.isdigit() else "Another process") from error
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def is_at(descriptor: int, path: Path) -> bool:
    """Tells whether an open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except (FileNotFoundError, NotADirectoryError):
        return False


def _refusal(path: Path, who: str) -> ConfigError:
    return ConfigError(f"{who} is writing {path} at this moment.", "Let it end first, or give another `out`.")
