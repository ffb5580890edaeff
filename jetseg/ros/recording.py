"""Recordings of ROS 2, as vehicles make them: MCAP files, SQLite files of rosbag2, and folders of either."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from jetseg.errors import ConfigError, DataError
from jetseg.ros.message_types import PICTURES

_SUFFIXES = (".mcap", ".db3")


@dataclass(frozen=True)
class Stored:
    """One message of a recording.

    Attributes:
        topic: Its topic.
        message_type: As in "sensor_msgs/msg/Image".
        content: CDR; empty if the message is larger than any may be.
        logged_ns: When it was recorded, in nanoseconds.
        place: Where it lies, for `Recording.read`.
    """

    topic: str
    message_type: str
    content: bytes
    logged_ns: int
    place: Any


class Recording(Protocol):
    """An open recording; used by one thread at a time. One that is forgotten closes its files."""

    @property
    def damage(self) -> str:
        """Why it ends early, or what of it was skipped; empty if it did not. Known after it was read."""
        ...

    def topics(self) -> dict[str, str]:
        """Returns the type of each topic; as of the first messages, where no index tells."""
        ...

    def messages(self, topics: Sequence[str]) -> Iterator[Stored]:
        """Yields the messages of some topics, in the order in which they lie there, as far as they are whole."""
        ...

    def read(self, place: Any) -> bytes:  # noqa: ANN401 - of its own kind
        """Reads the content of a message again.

        Raises:
            DataError: The file was changed.
        """
        ...

    def close(self) -> None:
        """Closes the files; may be called twice."""
        ...


def open_recording(path: Path) -> Recording:
    """Opens a recording: a file, or a folder of files that follow one another, as rosbag2 makes it.

    Raises:
        DataError: There is none, or it is of another kind.
        MissingDependencyError: A library for it is not installed.
    """
    if path.is_dir():
        files = sorted((entry for entry in path.iterdir() if entry.suffix in _SUFFIXES), key=_natural)
        if not files:
            raise _no_recording(path)
        return _Sequence([_open_file(file) for file in files])
    if not path.is_file():
        raise DataError(f"{path} does not exist.", "Check the path.")
    if path.suffix not in _SUFFIXES:
        raise _no_recording(path)
    return _open_file(path)


def split_place(place: str, form: str) -> tuple[Path, str | None]:
    """Reads `FILE:/topic` or `FILE`.

    Args:
        place: What a user wrote.
        form: How it is written, for messages.

    Raises:
        ConfigError: It names no file.

    >>> split_place("drive.mcap:/camera/image_raw", "mcap:FILE:/topic")
    (PosixPath('drive.mcap'), '/camera/image_raw')
    """
    file, colon, topic = place.rpartition(":")
    if not colon or not topic.startswith("/"):
        file, topic = place, ""
    if not file:
        raise ConfigError(f"{place!r} names no recording.", f"Write it as {form}.")
    return Path(file).expanduser(), topic or None


def picture_topic(recording: Recording, path: Path, topic: str | None) -> str:
    """Returns the topic that is meant: the given one, or the only one with pictures.

    Raises:
        DataError: It is not there, or has no pictures, or there are several; those that there are, are named.
    """
    found = {name: kind for name, kind in recording.topics().items() if kind in PICTURES}
    if topic in found:
        return topic
    listed = f"It holds: {', '.join(found)}." if found else "It holds no pictures at all."
    if topic is not None:
        raise DataError(f"{path} has no pictures of {topic}. {listed}", "Name one of these topics.")
    if len(found) != 1:
        raise DataError(
            f"Which pictures of {path} are meant? {listed}", f"Name the topic, as in {path}:/camera/image_raw."
        )
    return next(iter(found))


def _open_file(path: Path) -> Recording:
    if path.suffix == ".mcap":
        from jetseg.ros.mcap_reading import McapRecording

        return McapRecording(path)
    from jetseg.ros.sqlite_recording import SqliteRecording

    return SqliteRecording(path)


class _Sequence:
    """Recordings that follow one another."""

    def __init__(self, parts: Sequence[Recording]) -> None:
        self._parts = parts

    @property
    def damage(self) -> str:
        return "; ".join(part.damage for part in self._parts if part.damage)

    def topics(self) -> dict[str, str]:
        return {name: kind for part in reversed(self._parts) for name, kind in part.topics().items()}

    def messages(self, topics: Sequence[str]) -> Iterator[Stored]:
        for number, part in enumerate(self._parts):
            for stored in part.messages(topics):
                place = (number, stored.place)
                yield Stored(stored.topic, stored.message_type, stored.content, stored.logged_ns, place)

    def read(self, place: Any) -> bytes:  # noqa: ANN401
        part: Recording = self._parts[place[0]]
        return part.read(place[1])

    def close(self) -> None:
        for part in self._parts:
            part.close()


def _natural(path: Path) -> list[tuple[int, str]]:
    """Orders drive_2 before drive_10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def _no_recording(path: Path) -> DataError:
    return DataError(
        f"{path} is no recording: {' and '.join(_SUFFIXES)} are read, and folders of them.",
        "Unpack a compressed file first, as in `zstd -d drive.db3.zstd`.",
    )
