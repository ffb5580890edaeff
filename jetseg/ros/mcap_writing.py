"""Writes messages into an MCAP file that can be read as far as it was written, whenever the process ends."""

from __future__ import annotations

import json
import os
from pathlib import Path
from time import monotonic
from typing import IO, Any

from jetseg.errors import import_optional
from jetseg.locking import is_at
from jetseg.ros.message_types import definition
from jetseg.storage import sync_folder

_CHUNK_SECONDS = 1.0
_CHUNK_BYTES = 1 << 20


class McapWriter:
    """One MCAP file under way. Its chunks are whole in themselves, and of one second at most.

    Args:
        path: The file, which must not be there yet.

    Raises:
        MissingDependencyError: mcap is not installed.
        OSError: It cannot be made.
    """

    def __init__(self, path: Path) -> None:
        library = import_optional("mcap.writer", "mcap", "mcap", "writes MCAP files")
        self.path = path
        self._file: IO[bytes] = path.open("xb", buffering=0)
        self._writer = library.Writer(self._file, chunk_size=_CHUNK_BYTES, compression=library.CompressionType.ZSTD)
        self._channels: dict[str, int] = {}
        self._numbers: dict[str, int] = {}
        self._flushed_at = monotonic()
        self._writer.start(profile="ros2", library="jetseg")

    def is_there(self) -> bool:
        """Tells whether the file still lies where it was made."""
        return is_at(self._file.fileno(), self.path)

    def add_message(self, topic: str, message_type: str, content: bytes, logged_ns: int, published_ns: int) -> None:
        """Adds a message of ROS 2, as CDR."""
        if topic not in self._channels:
            schema = self._writer.register_schema(message_type, "ros2msg", definition(message_type).encode())
            self._channels[topic] = self._writer.register_channel(topic, "cdr", schema)
        self._add(topic, content, logged_ns, published_ns)

    def add_json(self, topic: str, name: str, schema: dict[str, Any], content: bytes, logged_ns: int) -> None:
        """Adds a JSON object.

        Its schema is beside the channel: rosbags opens no file that holds schemas other than those of ROS 2.
        """
        if topic not in self._channels:
            beside = {"name": name, "jsonschema": json.dumps(schema)}
            self._channels[topic] = self._writer.register_channel(topic, "json", 0, beside)
        self._add(topic, content, logged_ns, logged_ns)

    def flush(self) -> None:
        """Ends a chunk, and hands it to the system."""
        self._flushed_at = monotonic()
        self._writer.flush()

    def close(self) -> None:
        """Writes the index, and waits until the disk has all."""
        try:
            self._writer.finish()
            self._writer.flush()
            os.fsync(self._file.fileno())
            sync_folder(self.path.parent)
        finally:
            self._file.close()

    def _add(self, topic: str, content: bytes, logged_ns: int, published_ns: int) -> None:
        number = self._numbers[topic] = self._numbers.get(topic, 0) + 1
        self._writer.add_message(self._channels[topic], logged_ns, content, published_ns, number)
        if monotonic() - self._flushed_at >= _CHUNK_SECONDS:
            self.flush()
