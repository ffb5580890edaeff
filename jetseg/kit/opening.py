"""Opens a kit, to build from it and to prove an engine by it."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from jetseg.data.contract import Split
from jetseg.data.dataset import open_split
from jetseg.data.decode import LabelCode, read_label
from jetseg.errors import ArtifactError
from jetseg.kit.archive import unpack_kit
from jetseg.kit.contents import EXPECTED, FRAMES, IMAGES, KitIndex
from jetseg.manifest_file import manifest_path
from jetseg.network import Network, open_network
from jetseg.postprocess import ClassMap
from jetseg.quantization.ranges import Ranges, open_ranges


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
        """Opens the reference frames."""
        return open_split(f"folder:{self.folder / FRAMES}", "all")

    def expected(self) -> list[ClassMap]:
        """Returns the float network's class map of each reference frame.

        Raises:
            ArtifactError: The kit holds other frames than its index names.
        """
        classes = self.network.manifest.num_classes
        code = LabelCode(classes, classes)
        paths = [f"{EXPECTED}/{name}.png" for name in self.index.frames]
        missing = [path for path in paths if path not in self.index.members]
        images = sum(name.startswith(f"{IMAGES}/") for name in self.index.members)
        if missing or images != len(paths):
            raise ArtifactError(
                f"{self.path} holds {images} reference frames and {len(paths) - len(missing)} of {len(paths)} class "
                "maps.",
                "Pack it anew.",
            )
        return [read_label(self.folder / path, code) for path in paths]


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
def open_kit(path: Path) -> Iterator[Kit]:
    """Unpacks a kit into a folder that is there as long as the context, and opens what is in it.

    Raises:
        ArtifactError: The kit is damaged, or holds something that a kit does not hold.
        CalibrationError: Its ranges were made for another network.
        StorageError: The disk has too little room.
    """
    with tempfile.TemporaryDirectory(prefix="jetseg-kit-") as name:
        folder = Path(name)
        index = unpack_kit(path, folder)
        packed, model = folder / index.model, folder / "named" / f"{kit_name(path)}.onnx"
        model.parent.mkdir()
        packed.rename(model)
        manifest_path(packed).rename(manifest_path(model))
        network = open_network(model)
        ranges = open_ranges(folder / index.ranges, network) if index.ranges else None
        yield Kit(path, index, network, ranges, folder)
