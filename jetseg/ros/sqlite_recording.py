"""SQLite files of rosbag2 (.db3)."""

from __future__ import annotations

import sqlite3
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from jetseg.errors import DataError
from jetseg.ros.message_types import MOST_MESSAGE_BYTES
from jetseg.ros.recording import Stored

_ERRORS = (sqlite3.Error, UnicodeDecodeError)
"""SQLite's own texts name what a damaged schema holds, and Python cannot always read them."""
_MESSAGE = (
    "SELECT messages.id, topics.name, topics.type, messages.timestamp, "
    "CASE WHEN length(messages.data) <= ? THEN messages.data ELSE x'' END "
    "FROM messages JOIN topics ON messages.topic_id = topics.id WHERE topics.serialization_format = 'cdr' AND "
)


class SqliteRecording:
    """One SQLite file of rosbag2; see `jetseg.ros.recording.Recording`.

    Raises:
        DataError: It is none.
    """

    def __init__(self, path: Path) -> None:
        self.damage = ""
        self._path = path
        # the thread that reads is not the one that opens, and nobody reads beside it
        self._base = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, check_same_thread=False)
        self._base.text_factory = lambda text: text.decode("utf-8", "replace")
        weakref.finalize(self, self._base.close)
        try:
            with self._errors():
                self._base.execute("PRAGMA trusted_schema = OFF")
                tables = self._base.execute("SELECT name, type FROM sqlite_master LIMIT 100").fetchall()
            if not {("messages", "table"), ("topics", "table")} <= set(tables):
                raise self._no_recording()
        except DataError:
            self.close()
            raise

    def topics(self) -> dict[str, str]:
        """Returns the type of each topic; see `Recording`."""
        with self._errors():
            query = "SELECT name, type FROM topics WHERE serialization_format = 'cdr' LIMIT 10000"
            return {str(name): str(kind) for name, kind in self._base.execute(query)}

    def messages(self, topics: Sequence[str]) -> Iterator[Stored]:
        """Yields messages; see `Recording`."""
        marks = ", ".join("?" * len(topics))
        query = f"{_MESSAGE}topics.name IN ({marks}) ORDER BY messages.id"
        try:
            for row in self._base.execute(query, (MOST_MESSAGE_BYTES, *topics)):
                yield _stored(row)
        except _ERRORS as error:
            self.damage = f"{self._path} ends early ({error})"

    def read(self, place: int) -> bytes:
        """Reads a message again; see `Recording`."""
        with self._errors():
            row = self._base.execute(f"{_MESSAGE}messages.id = ?", (MOST_MESSAGE_BYTES, place)).fetchone()
        if row is None:
            raise DataError(f"{self._path} was changed while it was read.", "Leave it while it is in use.")
        return _stored(row).content

    def close(self) -> None:
        """Closes the file; see `Recording`."""
        self._base.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except _ERRORS as error:
            raise self._no_recording(error) from error

    def _no_recording(self, error: Exception | None = None) -> DataError:
        reason = f" ({error})" if error else ""
        return DataError(f"{self._path} is no recording of rosbag2{reason}.", "Check the file, or convert it to MCAP.")


def _stored(row: tuple[int, object, object, object, object]) -> Stored:
    """Takes whatever types the file gave its columns."""
    place, topic, kind, moment, content = row
    return Stored(
        str(topic),
        str(kind),
        content if isinstance(content, bytes) else b"",
        moment if isinstance(moment, int) else 0,
        place,
    )
