"""Opens a kit, to build from it and to prove an engine by it."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from jetseg.artifact_file import move_artifact
from jetseg.data.contract import Split
from jetseg.data.decode import LabelCode, read_label
from jetseg.data.files import FileSplit, FramePair
from jetseg.errors import ConfigError
from jetseg.kit.archive import unpack_kit
from jetseg.kit.contents import EXPECTED, IMAGES, LABELS, KitIndex
from jetseg.kit.signature import check_signature, copy_signed
from jetseg.network import Network, open_network
from jetseg.postprocess import ClassMap
from jetseg.quantization.ranges import Ranges, open_ranges
from jetseg.storage import scratch_folder


@dataclass(frozen=True)
class Kit:
    """An opened kit; its files are there as long as the context of `open_kit`.

    Attributes:
        path: The kit.
        index: Its index.
        network: The float network, named after the kit.
        ranges: Its ranges, if the kit has them.
        folder: Where it is unpacked.
    """

    path: Path
    index: KitIndex
    network: Network
    ranges: Ranges | None
    folder: Path

    def frames(self) -> Split:
        """Opens the reference frames: the files that the index names, with the network's classes.

        Nothing else in the kit says where they are or what their labels mean.
        """
        manifest, places = self.network.manifest, self._pictures()
        labels = places.get(LABELS, [None] * len(self.index.frames))
        pairs = [FramePair(*files) for files in zip(self.index.frames, places[IMAGES], labels, strict=True)]
        return FileSplit(
            f"kit:{self.path.name}", "all", manifest.classes, manifest.ignore_index, pairs, palette=manifest.colors
        )

    def expected(self) -> list[ClassMap]:
        """Returns the float network's class map of each reference frame."""
        classes = self.network.manifest.num_classes
        code = LabelCode(classes, classes)
        return [read_label(path, code) for path in self._pictures()[EXPECTED]]

    def _pictures(self) -> dict[str, list[Path]]:
        return {place: [self.folder / name for name in names] for place, names in self.index.pictures().items()}


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
def open_kit(path: Path, *, key: Path | None = None, within: Path | None = None) -> Iterator[Kit]:
    """Unpacks a kit into a folder that is there as long as the context, and opens what is in it.

    Args:
        path: The kit.
        key: Public key that it must be signed with; None takes any kit.
        within: Folder to make that folder in; the system's for temporary files by default.

    Raises:
        ArtifactError: The kit is not signed with the key, is damaged, or holds something that a kit does not hold.
        CalibrationError: Its ranges were made for another network.
        StorageError: The disk has too little room.
    """
    with scratch_folder("jetseg-kit-", within) as scratch:
        folder, named = scratch / "kit", scratch / "network"
        folder.mkdir()
        named.mkdir()
        index = unpack_kit(path, folder) if key is None else _unpack_signed(path, key, folder, named)
        packed, model = folder / index.model, named / f"{kit_name(path)}.onnx"
        move_artifact(packed, model)
        network = open_network(model)
        check_packable(network)
        ranges = open_ranges(folder / index.ranges, network) if index.ranges else None
        yield Kit(path, index, network, ranges, folder)


def check_packable(network: Network) -> None:
    """Refuses what no kit holds: anything but a float ONNX file with its weights inside.

    Raises:
        ConfigError: It is something else.
    """
    if network.manifest.kind != "onnx" or network.manifest.precision != "fp32":
        raise ConfigError(f"{network.path} is no float ONNX file.", "Pack the network that engines are built from.")
    if network.weight_files:
        raise ConfigError(f"{network.path} has weights in other files.", "Export it with its weights inside.")


def _unpack_signed(kit: Path, key: Path, folder: Path, beside: Path) -> KitIndex:
    """Unpacks a copy that nobody else can change: what was checked is what is used."""
    copy = copy_signed(kit, beside)
    check_signature(copy, key, shown=kit)
    index = unpack_kit(copy, folder)
    copy.unlink()
    return index
