"""Class maps as a folder of PNG files."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

import cv2
import numpy as np

from jetseg.camera.contract import FrameResult, Sink, SinkContext
from jetseg.camera.sinks.background import Output, in_background
from jetseg.errors import DeviceError
from jetseg.storage import storage_error

# The ids of a class map lie in long runs, for which a plain search costs a tenth of the default's time.
_PNG_SETTINGS = (cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE)


class ClassMapFiles(Output):
    """Writes each class map as an 8-bit PNG of ids, named by its frame's number; an `Output`.

    A file appears under its name only when it is whole.

    Args:
        folder: Where the files go; it is made if it does not exist.

    Raises:
        StorageError: The folder cannot be written to.
    """

    form = "class_map_files:DIR"
    kind = "class-map-files"
    wants_overlay = False

    @staticmethod
    def open(place: str, context: SinkContext) -> AbstractContextManager[Sink]:
        """Opens a folder that is written in the background; see `jetseg.camera.contract.SinkKind`."""
        return in_background(ClassMapFiles(Path(place)), context.events, live=context.live)

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(folder, error) from error

    def write(self, result: FrameResult) -> None:
        """Writes one class map.

        Raises:
            StorageError: The disk is full or read-only.
            DeviceError: OpenCV could not encode it.
        """
        good, content = cv2.imencode(".png", np.ascontiguousarray(result.class_map_hw_u8), _PNG_SETTINGS)
        if not good:
            raise DeviceError("OpenCV could not encode a class map as PNG.", "Use a build of OpenCV with PNG.")
        path = self._folder / f"{result.frame.sequence:08d}.png"
        temporary = path.with_suffix(".part")
        try:
            # no fsync: it would take a disk's whole attention, thirty times a second
            temporary.write_bytes(content.data)
            temporary.replace(path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise storage_error(path, error) from error
