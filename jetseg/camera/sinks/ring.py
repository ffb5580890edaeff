"""Class maps in shared memory, for other processes on the same machine.

The ring is a POSIX shared memory object (`shm_open("/NAME")` in C, the file /dev/shm/NAME on Linux). Its layout, and a
reader for C and C++, are in c/jetseg_ring.h, which `jetseg ring-header` prints.

A reader copies a slot, header and ids, and takes the copy only if its CRC is right: then neither a writer that came
round, nor a processor that reorders memory, nor a writer that was killed gives it a mixture of two class maps.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import re
import struct
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from time import perf_counter
from typing import IO

import numpy as np
import numpy.typing as npt

from jetseg.camera.contract import FrameResult, Sink, SinkContext, SourceFrame
from jetseg.camera.sinks.depth_steps import depth_steps
from jetseg.errors import ConfigError, DataError, DeviceError, StorageError
from jetseg.output_spec import OutputSpec, task_file_name
from jetseg.postprocess import TaskMap
from jetseg.storage import temporary_path

SHARED_MEMORY = Path("/dev/shm")
_HEADER = struct.Struct("<8s4I Q I")
_WRITTEN = struct.Struct("<Q")
_DETAILS = struct.Struct("<2Q d 2I")
_CHECKSUM = struct.Struct("<I")
_MAGIC, _VERSION = b"JETSEGCM", 1
_WRITTEN_AT, _ENDED_AT = 24, 32
_HEADER_BYTES = _SLOT_HEADER_BYTES = 64
_LOCK = struct.Struct("@2h2qi0q")
"""`struct flock` of the system: type, whence, start, length, process."""
_SLOTS = 4
_READ_TRIES = 4


@dataclass(frozen=True)
class RingFrame:
    """A class map from a ring.

    Attributes:
        number: Counts the class maps of the writer, from 0.
        sequence: Of the frame.
        captured_at: Unix time, in seconds.
        class_map_hw_u8: Class ids; a copy.
    """

    number: int
    sequence: int
    captured_at: float
    class_map_hw_u8: npt.NDArray[np.uint8]


class RingWriter:
    """Writes class maps into shared memory; a `Sink` that needs no thread, for it copies and waits for nobody.

    Args:
        name: Of the shared memory object. One that an ended process left behind is replaced.
        most_pixels: The largest class map that fits.
        slots: Class maps that a slow reader may fall behind while it copies.

    Raises:
        ConfigError: The name is none, or another process writes there.
        DeviceError: The machine has no /dev/shm, or it takes no more.
    """

    form = "ring:NAME"
    wants_overlay = False

    @staticmethod
    def open(place: str, context: SinkContext) -> AbstractContextManager[Sink]:
        """Opens a ring for a network's class maps; see `jetseg.camera.contract.SinkKind`."""
        spec = context.manifest.input
        pixels, further = spec.height * spec.width, context.manifest.outputs[1:]
        if not further:
            return closing(RingWriter(place, pixels))
        return RingSet.opened(place, pixels, further)

    def __init__(self, name: str, most_pixels: int, slots: int = _SLOTS) -> None:
        self._path = _place(name)
        _refuse_living_writer(self._path)
        self._slots = slots
        self._slot_bytes = _SLOT_HEADER_BYTES + (most_pixels + 63) // 64 * 64
        self._written = 0
        header = _HEADER.pack(_MAGIC, _VERSION, slots, self._slot_bytes, os.getpid(), 0, 0)
        try:
            # made under another name, so that no reader sees it before its header
            with temporary_path(self._path) as temporary:
                temporary.chmod(0o644)
                self._file = temporary.open("r+b")
                fcntl.fcntl(self._file, fcntl.F_OFD_SETLK, _LOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
                size = _HEADER_BYTES + slots * self._slot_bytes
                os.posix_fallocate(self._file.fileno(), 0, size)
                self._file.write(header)
                self._file.flush()
                self._memory = mmap.mmap(self._file.fileno(), size)
                temporary.replace(self._path)
        except StorageError as error:
            reason = error.__cause__.strerror if isinstance(error.__cause__, OSError) else error.found
            raise DeviceError(
                f"The shared memory {self._path} could not be made: {reason}.",
                "Free some memory, or give containers more of it (--shm-size).",
            ) from error

    def write(self, result: FrameResult) -> None:
        """Copies one class map into the next slot.

        Raises:
            DataError: It is larger than `most_pixels`.
        """
        self.put(result.class_map_hw_u8, result.frame)

    def put(self, ids_hw_u8: npt.NDArray[np.uint8], frame: SourceFrame) -> None:
        """Copies ids into the next slot; see `write`."""
        ids = np.ascontiguousarray(ids_hw_u8)
        if _SLOT_HEADER_BYTES + ids.size > self._slot_bytes:
            raise DataError(
                f"A class map of {ids.shape[1]}x{ids.shape[0]} pixels does not fit into the ring.",
                "Make the ring anew for this network.",
            )
        slot = _HEADER_BYTES + self._written % self._slots * self._slot_bytes
        captured_at = time.time() - (perf_counter() - frame.captured_at)
        pixels = slot + _SLOT_HEADER_BYTES
        self._memory[slot : slot + 8] = _WRITTEN.pack(0)
        self._memory[pixels : pixels + ids.size] = ids.data.cast("B")
        self._written += 1
        details = _DETAILS.pack(self._written, frame.sequence, captured_at, *ids.shape)
        details += _CHECKSUM.pack(zlib.crc32(ids.data, zlib.crc32(details)))
        self._memory[slot : slot + len(details)] = details
        self._memory[_WRITTEN_AT : _WRITTEN_AT + 8] = _WRITTEN.pack(self._written)

    def close(self) -> None:
        """Tells the readers that nothing more will come, and takes the name away; they may still read."""
        self._memory[_ENDED_AT : _ENDED_AT + 4] = struct.pack("<I", 1)
        self._memory.close()
        self._path.unlink(missing_ok=True)
        self._file.close()


class RingSet:
    """A ring for each task of a network: NAME for the main one, and NAME.TASK for each further one.

    A row of depth holds two bytes per pixel, little endian, in 1/256 of its unit, 0 where it is not a number: its width
    is twice that of the map.

    Args:
        main: The ring of the main task.
        further: Those of the others, by task.
    """

    wants_overlay = False

    def __init__(self, main: RingWriter, further: Mapping[str, RingWriter]) -> None:
        self._main, self._further = main, further

    @classmethod
    @contextmanager
    def opened(cls, name: str, pixels: int, outputs: Sequence[OutputSpec]) -> Iterator[Sink]:
        """Makes the rings; closes them in the end."""
        with ExitStack() as stack:
            main = stack.enter_context(closing(RingWriter(name, pixels)))
            further = {
                output.label: stack.enter_context(
                    closing(RingWriter(f"{name}.{task_file_name(output.label)}", pixels * (2 if output.depth else 1)))
                )
                for output in outputs
            }
            yield cls(main, further)

    def write(self, result: FrameResult) -> None:
        """Copies the map of each task into its ring."""
        self._main.write(result)
        for name, values in result.further.items():
            self._further[name].put(_bytes_of(values), result.frame)


def _bytes_of(values: TaskMap) -> npt.NDArray[np.uint8]:
    if values.dtype == np.uint8:
        return values.astype(np.uint8, copy=False)
    return depth_steps(values.astype(np.float32, copy=False)).astype("<u2", copy=False).view(np.uint8)


class RingReader:
    """Reads the newest class map of a ring, in any process.

    Args:
        name: As the writer was given it.

    Raises:
        DeviceError: There is no such ring.
        DataError: It is something else, or of another version.
    """

    def __init__(self, name: str) -> None:
        self._path = path = _place(name)
        try:
            with path.open("rb") as file:
                self._memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                self._status = os.fstat(file.fileno())
        except (OSError, ValueError) as error:
            raise DeviceError(f"There is no ring {path}.", "Start the run that writes it first.") from error
        magic, version, self._slots, self._slot_bytes, self.writer_process, *_ = self._header()
        if (magic, version) != (_MAGIC, _VERSION):
            self._memory.close()
            raise DataError(f"{path} is no ring of version {_VERSION}.", "Use the same jetseg in both processes.")

    @property
    def ended(self) -> bool:
        """The writer has closed the ring, or its process is gone."""
        with suppress(OSError), self._path.open("rb") as file:
            lives = os.path.samestat(os.fstat(file.fileno()), self._status) and _is_written(file)
            return bool(self._header()[6]) or not lives
        return True

    def newest(self) -> RingFrame | None:
        """Returns the newest class map; None before the first one, or if the writer is far too fast."""
        for _ in range(_READ_TRIES):
            if not (written := self._header()[5]):
                return None
            if (frame := self._read(written - 1)) is not None:
                return frame
        return None

    def close(self) -> None:
        """Unmaps the memory."""
        self._memory.close()

    def _header(self) -> tuple[bytes, int, int, int, int, int, int]:
        magic, version, slots, slot_bytes, process, written, ended = _HEADER.unpack_from(self._memory)
        return magic, version, slots, slot_bytes, process, written, ended

    def _read(self, number: int) -> RingFrame | None:
        slot = _HEADER_BYTES + number % self._slots * self._slot_bytes
        details = self._memory[slot : slot + _DETAILS.size]
        (checksum,) = _CHECKSUM.unpack_from(self._memory, slot + _DETAILS.size)
        written, sequence, captured_at, height, width = _DETAILS.unpack(details)
        pixels = slot + _SLOT_HEADER_BYTES
        copy = self._memory[pixels : pixels + min(height * width, self._slot_bytes)]
        intact = zlib.crc32(copy, zlib.crc32(details)) == checksum
        if written != number + 1 or len(copy) != height * width or not intact:
            return None
        ids = np.frombuffer(copy, np.uint8).reshape(height, width)
        return RingFrame(number, sequence, captured_at, ids)


def c_header() -> str:
    """Returns the header that reads a ring in C and C++."""
    return (resources.files("jetseg.camera.sinks") / "c" / "jetseg_ring.h").read_text()


def _place(name: str) -> Path:
    if not SHARED_MEMORY.is_dir():
        raise DeviceError("This system has no /dev/shm.", "Use `class_maps` or `publish` instead.")
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", name):
        raise ConfigError(f"{name!r} is no name for shared memory.", "Use letters, digits, points and dashes.")
    return SHARED_MEMORY / name


def _refuse_living_writer(path: Path) -> None:
    try:
        with path.open("rb") as file:
            content, alive = file.read(_HEADER.size), _is_written(file)
    except FileNotFoundError:
        return
    except OSError as error:
        raise DeviceError(f"{path} cannot be read: {error.strerror}.", "Give another name.") from error
    if len(content) < _HEADER.size or content[:8] != _MAGIC:
        raise ConfigError(f"{path} exists and is no ring of jetseg.", "Give another name.")
    if alive:
        process = _HEADER.unpack(content)[4]
        raise ConfigError(f"Process {process} already writes to {path}.", "Give another name, or end that process.")


def _is_written(file: IO[bytes]) -> bool:
    """Tells whether the process that made a ring still holds its lock; a process id may be another's by now."""
    found = fcntl.fcntl(file, fcntl.F_OFD_GETLK, _LOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0))
    return bool(_LOCK.unpack(found)[0] != fcntl.F_UNLCK)
