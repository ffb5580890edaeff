"""Optuna, the only place where it is imported, and storages of its studies."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import Any, TypeVar

from jetseg.address import StorageAddress
from jetseg.errors import ConfigError, DeviceError, MissingDependencyError, StorageError, import_optional
from jetseg.searching.space import Space, Words
from jetseg.storage import make_folder, storage_error

try:
    import optuna
    from optuna.storages.journal import JournalFileBackend
    from optuna.storages.journal._file import BaseJournalFileLock  # the type of its public argument `lock_obj`
    from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError, ProgrammingError, SQLAlchemyError
except ImportError as error:  # pragma: no cover - depends on the machine
    raise MissingDependencyError("optuna", "search", "runs the search") from error

__all__ = ["DIRECTIONS", "Storage", "distributions_of", "open_storage", "optuna"]

optuna.logging.set_verbosity(optuna.logging.WARNING)

_LOG = logging.getLogger(__name__)

DIRECTIONS = [optuna.study.StudyDirection[name] for name in ("MAXIMIZE", "MINIMIZE", "MINIMIZE")]
"""Of mIoU, latency and size."""
_CONNECT_SECONDS = 10
_OPENINGS = 5
_LONGEST_FIRST_LINE = 1 << 16
_PAUSES_SECONDS = (0.5, 1.0, 2.0, 5.0)
_PATIENCE_SECONDS = 600.0
"""How long a server may be away."""
T = TypeVar("T")


@dataclass(frozen=True)
class Storage(AbstractContextManager["Storage"]):
    """An opened storage; a context manager, which closes it.

    Attributes:
        address: Where it is.
        trials: Optuna's own interface to it.
        lock: A file whose lock makes one of several workers wait while another takes a trial; None where the
            storage sees to that by itself.
    """

    address: StorageAddress
    trials: optuna.storages.BaseStorage
    lock: Path | None = None

    def __exit__(self, *_: object) -> None:
        """Closes its connections."""
        backend = getattr(self.trials, "_backend", None)
        if isinstance(backend, optuna.storages.RDBStorage):
            backend.remove_session()
            backend.engine.dispose()

    def taking(self) -> AbstractContextManager[None]:
        """Lets one worker at a time look which trial is free, and take it."""
        return nullcontext() if self.lock is None else _locked(self.lock)

    def patiently(self, call: Callable[[], T]) -> T:
        """Calls what asks the storage, again and again while its server does not answer.

        A change that was made before the answer got lost is made again, so all changes are such as may be.

        Raises:
            StorageError: It did not answer for a long time.
            DeviceError: It is there, and refuses.
        """
        until = time.monotonic() + _PATIENCE_SECONDS
        for pause in chain(_PAUSES_SECONDS, repeat(_PAUSES_SECONDS[-1])):
            try:
                return call()
            except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
                reason = error.__cause__ if isinstance(error, optuna.exceptions.StorageInternalError) else error
                if not isinstance(reason, OperationalError | InterfaceError):
                    raise DeviceError(
                        f"{self.address} failed ({type(reason).__name__}).",
                        "Check that the database is one of Optuna's, or give an empty one.",
                    ) from None
            if time.monotonic() > until:
                break
            _LOG.warning("%s does not answer; asking again in %g s.", self.address, pause)
            time.sleep(pause)
        raise StorageError(
            f"{self.address} did not answer for {_PATIENCE_SECONDS / 60:g} minutes.",
            "Start its server, then give the same command again: the search goes on.",
        )


def open_storage(address: StorageAddress, *, make: bool) -> Storage:
    """Opens a storage: a file, or a database of PostgreSQL.

    Args:
        address: Path of the file, or URL of the database.
        make: Make the file if there is none.

    Raises:
        ConfigError: It is neither, or there is no such file.
        DeviceError: The server does not answer, or does not let us in.
        MissingDependencyError: The driver is not installed.
    """
    if address.is_url:
        with address.concealing():
            try:
                return Storage(address, _open_database(address.reveal()))
            except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
                raise DeviceError(
                    f"{address} failed ({type(error).__name__}).",
                    "Check the address, and that the server runs and lets you in.",
                ) from None
    path = Path(address.reveal()).expanduser()
    if not make and not path.is_file():
        raise ConfigError(f"There is no search in {address}.", "Give the storage of a search that was begun.")
    try:
        make_folder(path.parent)
        _check_begin(path)
        journal = optuna.storages.JournalStorage(JournalFileBackend(str(path), lock_obj=_AppendLock(path)))
    except OSError as error:
        raise storage_error(path, error) from error
    except (ValueError, LookupError, TypeError, AttributeError, AssertionError, RecursionError) as error:
        raise ConfigError(f"{address} is no storage of a search, or it is damaged.", "Give another one.") from error
    return Storage(address, journal, path.with_name(f".{path.name}.taking"))


def distributions_of(space: Space) -> dict[str, optuna.distributions.BaseDistribution]:
    """Returns what is chosen from, in Optuna's words."""
    found: dict[str, optuna.distributions.BaseDistribution] = {}
    for name, choice in space.items():
        if isinstance(choice, Words):
            found[name] = optuna.distributions.CategoricalDistribution(choice.options)
        else:
            found[name] = optuna.distributions.FloatDistribution(
                choice.low, choice.high, log=choice.log, step=choice.step
            )
    return found


def _open_database(url: str) -> optuna.storages.BaseStorage:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise ConfigError("`storage` is no URL of a database.", "Write postgresql://USER@HOST/DATABASE.") from error
    if parsed.get_backend_name() != "postgresql":
        raise ConfigError(
            f"`storage`: {parsed.get_backend_name()} is no database that a search can be kept in.",
            "Give a file, or postgresql://USER@HOST/DATABASE.",
        )
    import_optional("psycopg", "psycopg", "search", "talks to PostgreSQL")
    own = parsed.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
    settings: dict[str, Any] = {"pool_pre_ping": True, "connect_args": {"connect_timeout": _CONNECT_SECONDS}}
    for left in reversed(range(_OPENINGS)):
        try:
            return optuna.storages.get_storage(optuna.storages.RDBStorage(own, engine_kwargs=settings))
        except (IntegrityError, ProgrammingError):  # another worker makes the same tables at this moment
            if not left:
                raise
    raise AssertionError


def _check_begin(path: Path) -> None:
    """Refuses a file that holds something else, before anything is appended to it.

    Raises:
        ValueError: It does not begin as a journal does.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        first = file.readline(_LONGEST_FIRST_LINE)
    if first and "op_code" not in json.loads(first):
        raise ValueError


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Holds the lock of a file, which goes with the process; the file stays."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


class _AppendLock(BaseJournalFileLock):
    """Lets one process at a time append to a journal, after a line that a power cut left unfinished is taken away.

    Optuna's own locks are files that outlive a killed process.
    """

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._lock = journal.with_name(f".{journal.name}.lock")
        self._held: AbstractContextManager[None] | None = None

    def acquire(self) -> bool:
        """Waits for the lock."""
        held = _locked(self._lock)
        held.__enter__()
        self._held = held
        _drop_unfinished_line(self._journal)
        return True

    def release(self) -> None:
        """Gives the lock back."""
        if self._held is not None:
            self._held.__exit__(None, None, None)
            self._held = None


def _drop_unfinished_line(path: Path) -> None:
    """Cuts off what comes after the last end of a line."""
    with path.open("rb+") as file:
        size = end = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - 4096)
            file.seek(start)
            found = file.read(end - start).rfind(b"\n")
            if found >= 0:
                end = start + found + 1
                break
            end = start
        if end != size:
            file.truncate(end)
