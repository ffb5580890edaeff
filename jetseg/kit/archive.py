"""Kits as zip files: written whole, and unpacked as untrusted data."""

from __future__ import annotations

import hashlib
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from pydantic import ValidationError

from jetseg.config import changed, explain
from jetseg.errors import ArtifactError, ConfigError
from jetseg.kit.contents import INDEX, KitIndex, Member, differences
from jetseg.kit.signature import MAX_KIT_BYTES
from jetseg.storage import atomic_path, check_room, sha256_file, storage_error
from jetseg.text_data import TextDataError, parse_content

MAX_INDEX_BYTES = 4 << 20
MAX_RATIO = 20
"""How many times its compressed size a file may be; float weights and PNG have 1.1, JSON has 3."""
SMALL_BYTES = 1 << 20
"""What any file may be, however well it compresses."""
_MAX_MEMBERS = 10_000
_MAX_DIRECTORY_BYTES = 4 << 20
_MAX_NAME = 200
_BLOCK_BYTES = 1 << 20
_END = struct.Struct("<4s4H2LH")
"""The record at the end of a zip file: signature, disks, files, size and place of the directory, comment."""
_LARGE_LOCATOR_BYTES = 20
"""What stands before it in a zip file of more than 4 GB, whose directory is described elsewhere."""
_COMPRESSIONS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*(/[A-Za-z0-9_][A-Za-z0-9_.+-]*)*")
_AGAIN = "Copy it again, or pack it anew."
_STRANGE = "jetseg writes no such kit; do not use it."
_BROKEN = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, OverflowError, ValueError)
"""What `zipfile` raises for archives that are damaged or made up."""


def write_kit(out: Path, index: KitIndex, files: Mapping[str, Path]) -> KitIndex:
    """Writes a kit; returns the index with the members' hashes, as it stands in the kit.

    Args:
        out: The kit.
        index: Its index; `members` is filled in here.
        files: File to put in by its name in the kit.

    Raises:
        ConfigError: A name in the kit would have odd characters, or the files are too large.
        StorageError: The disk is full or read-only.
    """
    odd = [name for name in files if not _PLAIN_NAME.fullmatch(name)]
    if odd:
        raise ConfigError(f"A kit cannot hold a file named {odd[0]!r}.", "Rename it to letters, digits, dots, - and _.")
    members = {name: Member(sha256=sha256_file(path), size_bytes=path.stat().st_size) for name, path in files.items()}
    if sum(member.size_bytes for member in members.values()) > MAX_KIT_BYTES:
        raise ConfigError(f"A kit holds at most {MAX_KIT_BYTES / 1e9:.1f} GB.", "Pack a smaller network.")
    complete = changed(index, members=members)
    with atomic_path(out) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(INDEX, complete.model_dump_json(indent=2) + "\n")
        for name, path in files.items():
            archive.write(path, name, _compression(path))
    return complete


def _compression(path: Path) -> int:
    """Returns how a file is put in: as it is where it would shrink so much that no reader took it for honest."""
    packed, squeezer = 0, zlib.compressobj()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            packed += len(squeezer.compress(block))
    packed += len(squeezer.flush())
    return zipfile.ZIP_STORED if path.stat().st_size > MAX_RATIO * packed else zipfile.ZIP_DEFLATED


def unpack_kit(kit: Path, folder: Path) -> KitIndex:
    """Unpacks a kit into an empty folder after checking that it cannot do harm there.

    Every name, type and size is checked before the first byte is written, and each file's hash as it is written.

    Args:
        kit: The kit.
        folder: Where to; it must exist.

    Raises:
        ArtifactError: The kit is missing, damaged, or holds something that a kit does not hold.
        StorageError: The disk has too little room.
    """
    with _opened(kit) as (archive, entries, index):
        check_room(kit, folder, sum(entry.file_size for entry in entries.values()))
        for name, member in index.members.items():
            _extract(kit, archive, entries[name], member, folder / name)
    return index


def read_index(kit: Path) -> KitIndex:
    """Returns the index of a kit, after the checks of `unpack_kit` that need no unpacking."""
    with _opened(kit) as (_, _, index):
        return index


@contextmanager
def _opened(kit: Path) -> Iterator[tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo], KitIndex]]:
    """Opens a kit with its files by name and its index, all checked."""
    if not kit.is_file():
        raise ArtifactError(f"{kit} does not exist.", "Check the path.")
    try:
        with kit.open("rb") as stream:
            _check_end(kit, stream)
            with zipfile.ZipFile(stream) as archive:
                entries = _safe_entries(kit, archive)
                index = _read_index(kit, archive, entries)
                wrong = differences(index, {name: entry.file_size for name, entry in entries.items()})
                if wrong:
                    raise ArtifactError(f"{kit} {wrong[0]}.", _AGAIN)
                yield archive, entries, index
    except _BROKEN as error:
        raise ArtifactError(f"{kit} is not a whole kit: {error}.", _AGAIN) from error


def _check_end(kit: Path, stream: BinaryIO) -> None:
    """Refuses a directory of files that is too large to be looked at; `zipfile` reads all of it."""
    size = stream.seek(0, 2)
    if size < _END.size:
        raise ArtifactError(f"{kit} is not a whole kit: it has {size} bytes.", _AGAIN)
    stream.seek(-min(size, _END.size + _LARGE_LOCATOR_BYTES), 2)
    tail = stream.read()
    signature, _, _, _, count, directory_bytes, _, comment = _END.unpack(tail[-_END.size :])
    if signature != b"PK\5\6" or comment or tail.startswith(b"PK\6\7"):
        raise ArtifactError(f"{kit} is not a whole kit: it does not end like one.", _AGAIN)
    if count > _MAX_MEMBERS or directory_bytes > _MAX_DIRECTORY_BYTES:
        raise ArtifactError(f"{kit} lists {count} files in {directory_bytes / 1e6:.0f} MB.", _STRANGE)


def _safe_entries(kit: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Returns the files by name, refusing whatever could be written elsewhere or never end."""
    entries: dict[str, zipfile.ZipInfo] = {}
    for entry in archive.infolist():
        name, kind = entry.filename, stat.S_IFMT(entry.external_attr >> 16)
        if not _PLAIN_NAME.fullmatch(name) or len(name) > _MAX_NAME:
            raise ArtifactError(f"{kit} holds a file with the path {name!r}, which could leave its folder.", _STRANGE)
        if kind not in {0, stat.S_IFREG}:
            raise ArtifactError(f"{kit} holds {name}, which is a link or a device and not a file.", _STRANGE)
        if entry.header_offset < 0:
            raise ArtifactError(f"{kit} holds {name} before its own beginning.", _STRANGE)
        if name in entries:
            raise ArtifactError(f"{kit} holds {name} twice.", _STRANGE)
        if entry.flag_bits & 1:
            raise ArtifactError(f"{kit} holds {name} encrypted.", _STRANGE)
        if entry.compress_type not in _COMPRESSIONS:
            raise ArtifactError(f"{kit} holds {name} compressed in a way that no kit uses.", _STRANGE)
        entries[name] = entry
    for name in entries:
        inside = [str(folder) for folder in PurePosixPath(name).parents if str(folder) in entries]
        if inside:
            raise ArtifactError(f"{kit} holds {name}, and {inside[0]} as a file.", _STRANGE)
    _check_sizes(kit, entries)
    return entries


def _check_sizes(kit: Path, entries: Mapping[str, zipfile.ZipInfo]) -> None:
    """Refuses a few bytes that would become many; files may share them, so all together are looked at as well."""
    total = sum(entry.file_size for entry in entries.values())
    if total > MAX_KIT_BYTES:
        raise ArtifactError(f"{kit} would unpack to {len(entries)} files of {total / 1e9:.1f} GB in all.", _STRANGE)
    sizes = {f"{kit} in all": (total, kit.stat().st_size)} | {
        f"{name} in {kit}": (entry.file_size, entry.compress_size) for name, entry in entries.items()
    }
    for what, (unpacked, packed) in sizes.items():
        if _is_swollen(unpacked, packed):
            raise ArtifactError(
                f"{what} would grow from {packed / 1e6:.2f} MB to {unpacked / 1e6:.0f} MB when it is unpacked, "
                f"and {MAX_RATIO} times is the most.",
                _STRANGE,
            )


def _is_swollen(unpacked: int, packed: int) -> bool:
    return unpacked > max(SMALL_BYTES, MAX_RATIO * packed)


def _read_index(kit: Path, archive: zipfile.ZipFile, entries: Mapping[str, zipfile.ZipInfo]) -> KitIndex:
    if INDEX not in entries:
        raise ArtifactError(f"{kit} is no kit: it has no {INDEX}.", "Make one with `jetseg pack`.")
    if entries[INDEX].file_size > MAX_INDEX_BYTES:
        raise ArtifactError(f"{kit} has a {INDEX} of {entries[INDEX].file_size / 1e6:.0f} MB.", _STRANGE)
    try:
        return KitIndex.model_validate(parse_content(b"".join(_blocks(archive, entries[INDEX]))))
    except ValidationError as error:
        raise ArtifactError(f"{kit} has an index that cannot be read:\n{explain(error)}\n{_AGAIN}") from error
    except TextDataError as error:
        raise ArtifactError(f"{kit} has an index that cannot be read: {error}.", _AGAIN) from error


def _blocks(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Iterator[bytes]:
    """Unpacks a file a block at a time: never more than its stated size, and its checksum is looked at by `zipfile`."""
    with archive.open(entry) as source:
        while block := source.read(_BLOCK_BYTES):
            yield block


def _extract(kit: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, member: Member, path: Path) -> None:
    digest = hashlib.sha256()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as target:
            for block in _blocks(archive, entry):
                digest.update(block)
                target.write(block)
    except OSError as error:
        raise storage_error(path, error) from error
    if digest.hexdigest() != member.sha256:
        raise ArtifactError(f"{kit} is damaged: the SHA-256 of {entry.filename} is not the one in its index.", _AGAIN)
