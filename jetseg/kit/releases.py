"""The releases on a vehicle: numbered folders, and a link to the one that drives, which changes in one step.

    FOLDER/current -> releases/000007
    FOLDER/releases/000006/     the one before
    FOLDER/releases/000007/     kit, its signature, engine, manifest, release.json

Whatever is cut off at whatever moment, `current` leads to a whole release: a new one is built aside, is on the disk
before it gets its number, and has its number before the link changes.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from jetseg.config import Record, explain
from jetseg.errors import ArtifactError, ConfigError
from jetseg.kit.archive import read_index
from jetseg.kit.contents import Sha256
from jetseg.kit.signature import check_signature
from jetseg.network import Network, open_network
from jetseg.storage import make_folder, storage_error, sync_folder, sync_tree, write_text, writing
from jetseg.text_data import TextDataError, read_data

CURRENT = "current"
RELEASES = "releases"
RECORD = "release.json"
_STAGING = ".staging"
_NUMBER = re.compile("[0-9]{6,}")
FileName = Annotated[str, Field(pattern=r"^[^/\x00]+$", max_length=255)]


class ReleaseRecord(Record):
    """The file `release.json`: what was deployed.

    Attributes:
        format: Of this file.
        kit: Name of the kit's copy in the release.
        kit_sha256: Its hash.
        engine: Name of the engine in the release.
        engine_sha256: Its hash.
        backend: What the engine runs in.
        precision: What it was built in.
        agreement: Percent of the reference frames' pixels that got the float network's class.
        signed: Trusted comment of the kit's signature, where a key was asked for.
        deployed_at: When, by the vehicle's clock, which may be wrong; the numbers tell the order.
        jetseg: Version that built it.
    """

    format: Literal[1] = 1
    kit: FileName
    kit_sha256: Sha256
    engine: FileName
    engine_sha256: Sha256
    backend: str
    precision: str
    agreement: float
    signed: str | None = None
    deployed_at: str
    jetseg: str


@dataclass(frozen=True)
class Release:
    """One release.

    Attributes:
        number: Its number; a later one is larger.
        folder: Where it is.
        record: What was deployed.
        current: Whether it drives.
    """

    number: int
    folder: Path
    record: ReleaseRecord
    current: bool


def list_releases(folder: Path) -> list[Release]:
    """Returns the releases in a folder, the oldest first; leftovers without a record are none."""
    current, found = current_number(folder), []
    for number in _numbers(folder):
        place = _place(folder, number)
        with suppress(ArtifactError):
            found.append(Release(number, place, read_record(place), number == current))
    return found


def current_number(folder: Path) -> int | None:
    """Returns the number of the release that drives; None before the first."""
    try:
        name = Path(os.readlink(folder / CURRENT)).name  # noqa: PTH115 - as it stands, wherever it leads
    except OSError:
        return None
    return int(name) if _NUMBER.fullmatch(name) else None


def is_release(path: Path) -> bool:
    """Tells whether a path is a release, or a link to one."""
    return (path / RECORD).is_file()


def open_release(folder: Path, key: Path | None = None) -> Network:
    """Opens the engine of a release, after checking that it is the one that was deployed.

    Args:
        folder: The release; a link to it is followed once, so that all files are of the same one.
        key: Public key that its kit must be signed with. The engine was built from that kit on this machine, which
            its manifest and the record say; whoever can write into the folder could write something else there.

    Raises:
        ArtifactError: A file is missing, damaged or of another network, or the kit is not signed with the key.
    """
    place = folder.resolve()
    record = read_record(place)
    network = open_network(place / record.engine)
    if network.sha256 != record.engine_sha256:
        raise ArtifactError(f"{network.path} is not the engine that was deployed.", "Deploy the kit again.")
    if key is not None:
        kit = place / record.kit
        check_signature(kit, key)
        index = read_index(kit)
        if index.members[index.model].sha256 not in (network.manifest.parent_sha256, network.sha256):
            raise ArtifactError(f"{network.path} was not built from {kit.name}.", "Deploy the kit again.")
    return network


def read_record(release: Path) -> ReleaseRecord:
    """Reads what was deployed.

    Raises:
        ArtifactError: It is missing or malformed.
    """
    path = release / RECORD
    try:
        return ReleaseRecord.model_validate(read_data(path))
    except OSError as error:
        raise ArtifactError(f"{release} is no release: it has no {RECORD}.", "Deploy a kit.") from error
    except ValidationError as error:
        raise ArtifactError(f"{path} cannot be read:\n{explain(error)}", "Deploy the kit again.") from error
    except TextDataError as error:
        raise ArtifactError(f"{path} cannot be read: {error}.", "Deploy the kit again.") from error


@contextmanager
def changing(folder: Path) -> Iterator[Path]:
    """Keeps other deployments away, and gives an empty folder to build a release in; both end with the context.

    Raises:
        ConfigError: Another process deploys there.
        StorageError: Nothing can be written there.
    """
    staging = folder / _STAGING
    with writing(folder / CURRENT):
        try:
            shutil.rmtree(staging, ignore_errors=True)
            make_folder(folder / RELEASES)
            staging.mkdir()
        except OSError as error:
            raise storage_error(folder, error) from error
        try:
            yield staging
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def publish(folder: Path, staged: Path, record: ReleaseRecord) -> Release:
    """Gives a staged release the next number, switches to it, and removes all but the one that drove before.

    Must be called within `changing`.

    Args:
        folder: Where the releases are.
        staged: A folder within, with kit and engine.
        record: What was deployed.

    Raises:
        StorageError: The disk is full or read-only; the release before drives on.
    """
    before, number = current_number(folder), max(_numbers(folder), default=0) + 1
    place = _place(folder, number)
    try:
        write_text(staged / RECORD, record.model_dump_json(indent=2) + "\n")
        sync_tree(staged)
        staged.rename(place)
        sync_folder(place.parent)
        _switch(folder, number)
    except OSError as error:
        raise storage_error(place, error) from error
    for other in _numbers(folder):
        if other not in (number, before):
            with suppress(OSError):  # it is gone in one step, and in the end with the staging folder
                _place(folder, other).rename(folder / _STAGING / str(other))
    return Release(number, place, record, True)


def go_back(folder: Path, check: Callable[[Path], object]) -> Release:
    """Switches to the newest whole release before the one that drives; must be called within `changing`.

    Args:
        folder: Where the releases are.
        check: Called with that release; what it raises leaves the one that drives.

    Raises:
        ConfigError: There is none.
        StorageError: The disk is full or read-only.
    """
    current = current_number(folder)
    older = [release for release in list_releases(folder) if current is not None and release.number < current]
    if not older:
        raise ConfigError(f"{folder} has no release before the one that drives.", "Deploy a kit.")
    target = older[-1]
    check(target.folder)
    try:
        _switch(folder, target.number)
    except OSError as error:
        raise storage_error(folder / CURRENT, error) from error
    return Release(target.number, target.folder, target.record, True)


def _switch(folder: Path, number: int) -> None:
    """Changes where `current` leads: renaming a link over it is one step."""
    link = folder / _STAGING / CURRENT
    link.unlink(missing_ok=True)
    link.symlink_to(f"{RELEASES}/{number:06}")
    link.replace(folder / CURRENT)
    sync_folder(folder)


def _numbers(folder: Path) -> list[int]:
    places = (folder / RELEASES).iterdir() if (folder / RELEASES).is_dir() else ()
    return sorted(int(place.name) for place in places if _NUMBER.fullmatch(place.name))


def _place(folder: Path, number: int) -> Path:
    return folder / RELEASES / f"{number:06}"
