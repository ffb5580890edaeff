"""Opens the network in a kit, for a build on the vehicle."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from jetseg.kit.archive import unpack_kit
from jetseg.kit.contents import KitIndex
from jetseg.manifest import manifest_path


@dataclass(frozen=True)
class KitNetwork:
    """What a kit has to build from.

    Attributes:
        model: The float network, named after the kit.
        ranges: Its ranges file, if the kit has one.
        index: The kit's index.
    """

    model: Path
    ranges: Path | None
    index: KitIndex


def is_kit(path: Path) -> bool:
    """Tells whether a file is an archive, which a network never is."""
    return path.is_file() and zipfile.is_zipfile(path)


def kit_name(kit: Path) -> str:
    """Returns what engines of a kit are named after.

    >>> kit_name(Path("drives/student.kit.zip"))
    'student'
    """
    return kit.stem.removesuffix(".kit")


@contextmanager
def open_kit(kit: Path) -> Iterator[KitNetwork]:
    """Unpacks a kit into a folder that is there as long as the context.

    Raises:
        ArtifactError: The kit is damaged, or holds something that a kit does not hold.
        StorageError: The disk has too little room.
    """
    with tempfile.TemporaryDirectory(prefix="jetseg-kit-") as name:
        folder = Path(name)
        index = unpack_kit(kit, folder)
        packed, model = folder / index.model, folder / "named" / f"{kit_name(kit)}.onnx"
        model.parent.mkdir()
        packed.rename(model)
        manifest_path(packed).rename(manifest_path(model))
        yield KitNetwork(model, folder / index.ranges if index.ranges else None, index)
