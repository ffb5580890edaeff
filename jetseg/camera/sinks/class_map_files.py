"""Class maps as a folder of PNG files."""

from __future__ import annotations

import os
import re
from contextlib import AbstractContextManager
from pathlib import Path

import cv2
import numpy as np

from jetseg.camera.contract import FrameResult, Sink, SinkContext
from jetseg.camera.sinks.background import Output, in_background
from jetseg.camera.sinks.depth_steps import depth_steps
from jetseg.errors import ConfigError, DeviceError
from jetseg.locking import hold
from jetseg.monitor.events import EventLog
from jetseg.output_spec import task_file_name
from jetseg.postprocess import TaskMap
from jetseg.storage import make_folder, storage_error

# The ids of a class map lie in long runs, for which a plain search costs a tenth of the default's time.
_PNG_SETTINGS = (cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE)


class ClassMapFiles(Output):
    """Writes each class map as an 8-bit PNG of ids, named by its frame's number; an `Output`.

    Those of a network's further tasks go to a folder of the task's name in it: class maps likewise, and depth as 16-bit
    PNG in 1/256 of its unit, 0 where it is not a number, as KITTI has it.

    A file appears under its name only when it is whole. A folder that is deleted meanwhile is made anew.

    Args:
        folder: Where the files go; it is made if it does not exist.
        events: Gets "class-map-files-deleted".

    Raises:
        ConfigError: Another run writes there.
        StorageError: The folder cannot be written to.
    """

    form = "class_map_files:DIR"
    kind = "class-map-files"
    wants_overlay = False

    @staticmethod
    def open(place: str, context: SinkContext) -> AbstractContextManager[Sink]:
        """Opens a folder that is written in the background; see `jetseg.camera.contract.SinkKind`."""
        return in_background(ClassMapFiles(Path(place), context.events), context.events, live=context.live)

    def __init__(self, folder: Path, events: EventLog | None = None) -> None:
        self._folder = folder
        self._events = events or EventLog()
        self._held: int | None = None
        self._open()

    def write(self, result: FrameResult) -> None:
        """Writes one class map.

        Raises:
            StorageError: The disk is full or read-only.
            DeviceError: OpenCV could not encode it.
        """
        for name, values in {"": result.class_map_hw_u8, **result.further}.items():
            content = _png(values)
            path = self._folder / task_file_name(name) / f"{result.frame.sequence:08d}.png"
            try:
                try:
                    self._write(path, content)
                except FileNotFoundError:
                    self._make_anew()
                    make_folder(path.parent)
                    self._write(path, content)
            except OSError as error:
                raise storage_error(path, error) from error

    def close(self) -> None:
        """Lets another run write to the folder."""
        held, self._held = self._held, None
        if held is not None:
            os.close(held)

    def _make_anew(self) -> None:
        self.close()
        if self._folder.exists():
            self._open()
            return  # only the folder of a further task is not there yet
        self._open()
        text = f"{self._folder} was deleted while class maps were written to it; they go to a new folder."
        self._events.add("class-map-files-deleted", "warning", text)

    def _open(self) -> None:
        """Makes the folder, keeps other runs away from it, and removes what a killed run left half."""
        try:
            make_folder(self._folder)
            self._held = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            if hold(self._held) is False:
                self.close()
                raise ConfigError(f"Another process writes class maps to {self._folder}.", "Give another folder.")
            for left in self._folder.iterdir():
                if re.fullmatch(r"\d{8,}\.part", left.name):
                    left.unlink()
        except OSError as error:
            raise storage_error(self._folder, error) from error

    def _write(self, path: Path, content: memoryview) -> None:
        if self._held is None:  # after a failure
            self._open()
        temporary = path.with_suffix(".part")
        try:
            # no fsync: it would take a disk's whole attention, thirty times a second
            temporary.write_bytes(content)
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise


def _png(values: TaskMap) -> memoryview:
    if values.dtype != np.uint8:
        good, content = cv2.imencode(".png", depth_steps(values.astype(np.float32, copy=False)))
    else:
        good, content = cv2.imencode(".png", np.ascontiguousarray(values), _PNG_SETTINGS)
    if not good:
        raise DeviceError("OpenCV could not encode a class map as PNG.", "Use a build of OpenCV with PNG.")
    return content.data
