"""Kits as zip files: written whole, and unpacked as untrusted data."""

from __future__ import annotations

import hashlib
import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from jetseg.config import changed, explain
from jetseg.errors import ArtifactError, ConfigError, StorageError
from jetseg.kit.contents import INDEX, KitIndex, Member
from jetseg.storage import atomic_path, sha256_file, storage_error

MAX_INDEX_BYTES = 4 << 20
MAX_KIT_BYTES = 8 << 30
_MAX_MEMBERS = 10_000
_COMPRESSIONS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_SPARE_DISK_BYTES = 64 << 20
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*(/[A-Za-z0-9_][A-Za-z0-9_.+-]*)*")
_AGAIN = "Copy it again, or pack it anew."
_STRANGE = "jetseg writes no such kit; do not use it."


def write_kit(out: Path, index: KitIndex, files: Mapping[str, Path]) -> KitIndex:
    """Writes a kit; returns the index with the members' hashes, as it stands in the kit.

    Args:
        out: The kit.
        index: Its index; `members` is filled in here.
        files: File to put in by its name in the kit.

    Raises:
        ConfigError: A name in the kit would have odd characters.
        StorageError: The disk is full or read-only.
    """
    odd = [name for name in files if not _PLAIN_NAME.fullmatch(name)]
    if odd:
        raise ConfigError(f"A kit cannot hold a file named {odd[0]!r}.", "Rename it to letters, digits, dots, - and _.")
    members = {name: Member(sha256=sha256_file(path), size_bytes=path.stat().st_size) for name, path in files.items()}
    complete = changed(index, members=members)
    with atomic_path(out) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(INDEX, complete.model_dump_json(indent=2) + "\n")
        for name, path in files.items():
            archive.write(path, name)
    return complete


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
    if not kit.is_file():
        raise ArtifactError(f"{kit} does not exist.", "Check the path.")
    try:
        with zipfile.ZipFile(kit) as archive:
            entries = _safe_entries(kit, archive)
            index = _read_index(kit, archive, entries)
            _check_members(kit, index, entries)
            _check_room(kit, folder, sum(entry.file_size for entry in entries.values()))
            for name, member in index.members.items():
                _extract(kit, archive, entries[name], member, folder / name)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{kit} is not a whole kit: {error}.", _AGAIN) from error
    return index


def _safe_entries(kit: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Returns the files by name, refusing whatever could be written elsewhere or never end."""
    entries: dict[str, zipfile.ZipInfo] = {}
    for entry in archive.infolist():
        name, kind = entry.filename, stat.S_IFMT(entry.external_attr >> 16)
        if not _PLAIN_NAME.fullmatch(name):
            raise ArtifactError(f"{kit} holds a file with the path {name!r}, which could leave its folder.", _STRANGE)
        if kind not in {0, stat.S_IFREG}:
            raise ArtifactError(f"{kit} holds {name}, which is a link or a device and not a file.", _STRANGE)
        if name in entries:
            raise ArtifactError(f"{kit} holds {name} twice.", _STRANGE)
        if entry.flag_bits & 1:
            raise ArtifactError(f"{kit} holds {name} encrypted.", _STRANGE)
        if entry.compress_type not in _COMPRESSIONS:
            raise ArtifactError(f"{kit} holds {name} compressed in a way that no kit uses.", _STRANGE)
        entries[name] = entry
    total = sum(entry.file_size for entry in entries.values())
    if len(entries) > _MAX_MEMBERS or total > MAX_KIT_BYTES:
        raise ArtifactError(f"{kit} would unpack to {len(entries)} files of {total / 1e9:.1f} GB in all.", _STRANGE)
    return entries


def _read_index(kit: Path, archive: zipfile.ZipFile, entries: Mapping[str, zipfile.ZipInfo]) -> KitIndex:
    if INDEX not in entries:
        raise ArtifactError(f"{kit} is no kit: it has no {INDEX}.", "Make one with `jetseg pack`.")
    if entries[INDEX].file_size > MAX_INDEX_BYTES:
        raise ArtifactError(f"{kit} has a {INDEX} of {entries[INDEX].file_size / 1e6:.0f} MB.", _STRANGE)
    try:
        return KitIndex.model_validate_json(archive.read(INDEX))
    except ValidationError as error:
        raise ArtifactError(f"{kit} has an index that cannot be read:\n{explain(error)}\n{_AGAIN}") from error


def _check_members(kit: Path, index: KitIndex, entries: Mapping[str, zipfile.ZipInfo]) -> None:
    """Compares the index with what is there."""
    absent = sorted(set(index.members) - set(entries))
    extra = sorted(set(entries) - set(index.members) - {INDEX})
    if absent or extra:
        what = f"lacks {', '.join(absent[:3])}" if absent else f"holds {', '.join(extra[:3])}, not in its index"
        raise ArtifactError(f"{kit} {what}.", _AGAIN)
    named = [name for name in (index.model, f"{index.model}.json", index.ranges, index.qdq) if name is not None]
    lost = [name for name in named if name not in index.members]
    if lost:
        raise ArtifactError(f"{kit} lacks {', '.join(lost)}, which its index names.", _AGAIN)


def _check_room(kit: Path, folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed + _SPARE_DISK_BYTES:
        raise StorageError(
            f"{kit} needs {(needed + _SPARE_DISK_BYTES) / 1e6:.0f} MB in {folder}, where {free / 1e6:.0f} MB are free.",
            "Free some space, or set TMPDIR to a folder on a larger disk.",
        )


def _extract(kit: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, member: Member, path: Path) -> None:
    digest = hashlib.sha256()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(entry) as source, path.open("xb") as target:
            while block := source.read(1 << 20):
                digest.update(block)
                target.write(block)
    except OSError as error:
        raise storage_error(path, error) from error
    if digest.hexdigest() != member.sha256:
        raise ArtifactError(f"{kit} is damaged: the SHA-256 of {entry.filename} is not the one in its index.", _AGAIN)
