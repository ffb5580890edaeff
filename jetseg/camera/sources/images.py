"""Image files, one or a folder of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

from jetseg.camera.contract import Source, SourceFrame
from jetseg.data.decode import IMAGE_SUFFIXES, read_frame
from jetseg.errors import DataError
from jetseg.input_spec import FrameWindow


def is_image(path: Path) -> bool:
    """Tells whether a file is an image, by its name."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def open_images(name: str, place: Path, window: FrameWindow | None = None) -> ImageSource:
    """Opens an image file, or a folder of them in the order of their names.

    Args:
        name: What the user called it.
        place: The file or folder.
        window: Which values of images of more than 8 bits become 0 to 255.

    Raises:
        DataError: The folder holds no images.
    """
    if place.is_file():
        return ImageSource(name, [place], window)
    found = sorted(path for path in place.iterdir() if is_image(path) and not path.name.startswith("."))
    if not found:
        raise DataError(
            f"The folder {place} holds no images.",
            f"Give a folder of image files, or, for a dataset with labels, its spec, as in camvid:{place} or "
            f"folder:{place}.",
        )
    return ImageSource(name, found, window)


class ImageSource(Source):
    """Image files in the given order; see `jetseg.camera.contract.Source`."""

    def __init__(self, name: str, paths: Sequence[Path], window: FrameWindow | None = None) -> None:
        self.name = name
        self._window = window
        self._paths = tuple(paths)
        self._sequence = 0

    def read(self) -> SourceFrame | None:
        """Decodes the next file.

        Raises:
            DataError: It is damaged.
        """
        if self._sequence >= len(self._paths):
            return None
        started = perf_counter()
        path = self._paths[self._sequence]
        frame = SourceFrame(self._sequence, path.stem, started, read_frame(path, self._window))
        self._sequence += 1
        return frame
