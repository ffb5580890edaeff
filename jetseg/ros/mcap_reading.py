"""MCAP files, read from their beginning: an index is not needed, and a file that was cut is read up to there.

The format is that of the MCAP specification, version 0: after eight bytes, records of a code, a length and a content;
chunks are records that hold records, compressed.
"""

from __future__ import annotations

import io
import os
import weakref
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from jetseg.errors import DataError, import_optional
from jetseg.ros.message_types import MOST_MESSAGE_BYTES
from jetseg.ros.recording import Stored

_MAGIC = b"\x89MCAP0\r\n"
_HEAD = 9
_SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _DATA_END = 0x03, 0x04, 0x05, 0x06, 0x0F
_TOPICS_BYTES = 64 << 20
"""How far topics are looked for: recorders write a topic's channel before its first message."""
_MOST_TOPICS = 10_000


@dataclass(frozen=True)
class _Record:
    """One record: where it begins, and, if it is one that is of use here, what it holds."""

    code: int
    start: int
    content: bytes


class _DamagedError(Exception):
    """What follows cannot be read."""


@dataclass
class _Channels:
    """What has been read of channels, and of the schemas that they refer to."""

    schemas: dict[int, str] = field(default_factory=dict)
    found: dict[int, tuple[str, int]] = field(default_factory=dict)

    def type_of(self, channel: int) -> tuple[str, str] | None:
        """Returns topic and message type; None for a channel that is not there or not of ROS 2."""
        if channel not in self.found:
            return None
        topic, schema = self.found[channel]
        return topic, self.schemas.get(schema, "")


class McapRecording:
    """One MCAP file; see `jetseg.ros.recording.Recording`.

    Raises:
        DataError: It is none.
        MissingDependencyError: mcap, lz4 or zstandard is not installed.
    """

    def __init__(self, path: Path) -> None:
        self.damage = ""
        self._path = path
        self._library = import_optional("mcap.records", "mcap", "mcap", "reads MCAP files")
        self._streams = import_optional("mcap.data_stream", "mcap", "mcap", "reads MCAP files")
        self._channels = _Channels()
        self._chunk: tuple[int, list[_Record]] = (-1, [])
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise DataError(f"{path} could not be read: {error.strerror or error}.") from error
        weakref.finalize(self, self._file.close)
        self._size = os.fstat(self._file.fileno()).st_size
        if self._file.read(len(_MAGIC)) != _MAGIC:
            self._file.close()
            raise DataError(f"{path} is no MCAP file.", "Check the file; it may be empty, or of another kind.")

    def topics(self) -> dict[str, str]:
        """Returns the type of each topic; see `Recording`."""
        for outer in self._records(len(_MAGIC)):
            if outer.start > _TOPICS_BYTES:
                break
            with suppress(_DamagedError):  # which whoever reads messages is told
                self._inner(outer)
        named = [self._channels.type_of(channel) for channel in self._channels.found]
        return dict(name for name in named if name is not None)

    def messages(self, topics: Sequence[str]) -> Iterator[Stored]:
        """Yields messages; see `Recording`."""
        for place, record in self._messages():
            stored = self._stored(record, place)
            if stored is not None and stored.topic in topics:
                yield stored

    def read(self, place: tuple[int, int]) -> bytes:
        """Reads a message again; see `Recording`."""
        start, index = place
        try:
            if self._chunk[0] != start:
                outer = next(self._records(start), None)
                self._chunk = (start, [] if outer is None else self._inner(outer))
            if index < len(self._chunk[1]):
                return bytes(self._parsed("Message", self._chunk[1][index]).data)
        except _DamagedError:
            pass
        raise DataError(f"{self._path} was changed while it was read.", "Leave it while it is in use.")

    def close(self) -> None:
        """Closes the file; see `Recording`."""
        self._file.close()

    def _messages(self) -> Iterator[tuple[tuple[int, int], _Record]]:
        for outer in self._records(len(_MAGIC)):
            try:
                inner = self._inner(outer)
            except _DamagedError as error:
                self.damage = f"{self._path}: the chunk at byte {outer.start} was skipped ({error})"
                continue
            for index, record in enumerate(inner):
                yield (outer.start, index), record

    def _records(self, start: int) -> Iterator[_Record]:
        """Yields records from a place on, and notes channels, until the data end or the file does."""
        position = start
        try:
            while position < self._size:
                self._file.seek(position)
                record = _next_record(self._file, position, self._size)
                if record.code == _DATA_END:
                    return
                position = self._file.tell()
                self._note(record)
                yield record
            self.damage = f"{self._path} ends early, at byte {self._size}"
        except (_DamagedError, OSError) as error:
            self.damage = f"{self._path} cannot be read from byte {position} on ({error})"

    def _inner(self, outer: _Record) -> list[_Record]:
        """Returns the messages of a chunk, or the message that a record is itself."""
        if outer.code == _MESSAGE:
            return [outer]
        if outer.code != _CHUNK:
            return []
        content = self._unpacked(self._parsed("Chunk", outer))
        stream, found = io.BytesIO(content), []
        while stream.tell() < len(content):
            record = _next_record(stream, stream.tell(), len(content))
            self._note(record)
            if record.code == _MESSAGE:
                found.append(record)
        return found

    def _note(self, record: _Record) -> None:
        channels = self._channels
        if record.code == _SCHEMA and len(channels.schemas) < _MOST_TOPICS:
            schema = self._parsed("Schema", record)
            channels.schemas[schema.id] = schema.name
        elif record.code == _CHANNEL and len(channels.found) < _MOST_TOPICS:
            channel = self._parsed("Channel", record)
            if channel.message_encoding == "cdr":
                channels.found[channel.id] = (channel.topic, channel.schema_id)

    def _stored(self, record: _Record, place: tuple[int, int]) -> Stored | None:
        channel = self._channels.type_of(int.from_bytes(record.content[:2], "little"))
        if channel is None:
            return None
        try:
            message = self._parsed("Message", record)
        except _DamagedError:
            return None
        return Stored(*channel, message.data, message.log_time, place)

    def _parsed(self, kind: str, record: _Record) -> Any:  # noqa: ANN401 - mcap is optional
        stream = self._streams.ReadDataStream(io.BytesIO(record.content))
        reader = getattr(self._library, kind).read
        try:
            return reader(stream, len(record.content)) if kind == "Message" else reader(stream)
        except Exception as error:  # whatever mcap raises on bytes that anyone may have written
            raise _DamagedError(f"a {kind.lower()} is damaged") from error

    def _unpacked(self, chunk: Any) -> bytes:  # noqa: ANN401
        """Returns what a chunk holds, of which no more is unpacked than it states, and that is bounded."""
        size = chunk.uncompressed_size
        if size > 2 * MOST_MESSAGE_BYTES:
            raise _DamagedError(f"it states {size} bytes")
        try:
            content = _decompressed(chunk.compression, chunk.data, size)
        except _LIBRARY_ERRORS as error:
            raise _DamagedError("it cannot be unpacked") from error
        if len(content) != size or (chunk.uncompressed_crc and zlib.crc32(content) != chunk.uncompressed_crc):
            raise _DamagedError("it holds something else than it states")
        return content


_LIBRARY_ERRORS = (ValueError, RuntimeError, EOFError, MemoryError, OSError)


def _next_record(stream: BinaryIO, start: int, end: int) -> _Record:
    head = stream.read(_HEAD)
    length = int.from_bytes(head[1:], "little")
    if len(head) < _HEAD or length > end - start - _HEAD:
        raise _DamagedError("it was cut there")
    if head[0] not in (_SCHEMA, _CHANNEL, _MESSAGE, _CHUNK):
        stream.seek(length, os.SEEK_CUR)
        return _Record(head[0], start, b"")
    if length > 2 * MOST_MESSAGE_BYTES:
        raise _DamagedError(f"a record states {length} bytes")
    content = stream.read(length)
    if len(content) < length:
        raise _DamagedError("it was cut there")
    return _Record(head[0], start, content)


def _decompressed(compression: str, data: bytes, size: int) -> bytes:
    if compression == "":
        return data
    if compression == "lz4":
        lz4 = import_optional("lz4.frame", "lz4", "mcap", "unpacks recordings")
        return bytes(lz4.LZ4FrameDecompressor().decompress(data, max_length=size + 1))
    if compression == "zstd":
        zstandard = import_optional("zstandard", "zstandard", "mcap", "unpacks recordings")
        try:
            with zstandard.ZstdDecompressor().stream_reader(data) as reader:
                return bytes(reader.read(size + 1))
        except zstandard.ZstdError as error:
            raise ValueError from error
    raise ValueError(compression)
