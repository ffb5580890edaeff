"""Keeps the frames of which labels would teach most, none like another, within a budget of disk."""

from __future__ import annotations

import json
import math
import os
import re
import time
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError

from jetseg.camera.contract import FrameResult
from jetseg.camera.sinks.background import BackgroundSink, Output, in_background
from jetseg.config import Record
from jetseg.data.folder import CLASSES_FILE
from jetseg.errors import ConfigError, DeviceError
from jetseg.evaluation.signals import Vector
from jetseg.locking import hold
from jetseg.manifest import Manifest
from jetseg.monitor.events import EventLog
from jetseg.monitor.worth import FrameWorth
from jetseg.postprocess import resize_class_map
from jetseg.storage import make_folder, storage_error, write_bytes, write_text
from jetseg.text_data import TextDataError, read_data

_FOLDERS = {"images": ".png", "predictions": ".png", "reasons": ".json"}
_NAME = re.compile(r"\d{8}T\d{6}-\d{8,}")
_LEAST_DISTANCE = 0.35
"""Between two frames, below which they count as one scene."""


class Reasons(Record):
    """Why a frame was kept, as it stands in reasons/NAME.json."""

    score: float
    reasons: dict[str, float]
    place: tuple[float, ...]
    source: str
    frame: str
    at: float
    size_bytes: Annotated[int, Field(ge=0)]


@dataclass(frozen=True, kw_only=True)
class RatedResult(FrameResult):
    """A processed frame, and what a label of it would be worth."""

    worth: FrameWorth


class Collection(Output):
    """Frames in a folder; an `Output` for `RatedResult`.

    Two frames that show about the same are one scene, of which the better one stays. When the budget is spent, a frame
    takes the place of the one that is worth least, where worth is the score times the distance to the nearest other.
    Later runs go on with what they find.

    Args:
        folder: A dataset as `folder:DIR` takes it, without labels: images/, predictions/ with the class maps as PNG of
            ids, reasons/ and classes.yaml.
        limit_bytes: The budget.
        manifest: The engine's.
        source: Name of the source.
        most: Keep no more frames than this.

    Raises:
        ConfigError: Another run collects there, or the folder is of other classes.
        StorageError: The folder cannot be written to.
    """

    kind = "collection"
    wants_overlay = False

    def __init__(
        self, folder: Path, limit_bytes: int, manifest: Manifest, source: str = "", *, most: int | None = None
    ) -> None:
        self._folder, self._limit_bytes, self._most = folder, limit_bytes, most
        self._manifest, self._source = manifest, source
        self._kept: dict[str, Reasons] = {}
        self._places: Vector = np.zeros((0, 0))
        self._nearest: Vector = np.zeros(0)
        """Distance of each from the nearest other."""
        self._held: int | None = None
        self._run = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        try:
            self._open()
        except OSError as error:
            self.close()
            raise storage_error(folder, error) from error
        except ConfigError:
            self.close()
            raise

    def __len__(self) -> int:
        """Returns how many frames are kept."""
        return len(self._kept)

    def write(self, result: FrameResult) -> None:
        """Keeps a frame if it is worth it, and lets another go where there is no room for both.

        Raises:
            StorageError: The disk is full or read-only.
            DeviceError: OpenCV could not encode it.
        """
        if not isinstance(result, RatedResult):
            return
        score = result.worth.score
        if not math.isfinite(score):
            return
        names, distances = list(self._kept), self._distances(result.worth.place)
        if names and distances.min() < _LEAST_DISTANCE:
            same = names[int(distances.argmin())]
            if score <= self._kept[same].score:
                return
            self._remove(same)
        elif names and self._is_full():
            least, worth = self._least_worth()
            if score * min(1.0, float(distances.min())) <= worth:
                return
            self._remove(least)
        self._keep(result)
        while len(self._kept) > 1 and self._used() > self._limit_bytes:
            self._remove(self._least_worth()[0])

    def close(self) -> None:
        """Lets another run collect in the folder."""
        held, self._held = self._held, None
        if held is not None:
            os.close(held)

    def reset(self) -> None:
        """Goes on with the same folder after a failure."""

    def _used(self) -> int:
        return sum(found.size_bytes for found in self._kept.values())

    def _is_full(self) -> bool:
        used = self._used()
        return used + used / max(1, len(self._kept)) > self._limit_bytes or len(self._kept) == self._most

    def _distances(self, place: Vector) -> Vector:
        """Returns how far a place is from every kept one."""
        return np.asarray(np.linalg.norm(self._places - place, axis=1)) if self._kept else np.zeros(0)

    def _least_worth(self) -> tuple[str, float]:
        """Returns the frame whose loss costs least, and its worth."""
        worth = np.array([found.score for found in self._kept.values()]) * np.minimum(1.0, self._nearest)
        least = int(worth.argmin())
        return list(self._kept)[least], float(worth[least])

    def _keep(self, result: RatedResult) -> None:
        frame = result.frame
        name = f"{self._run}-{frame.sequence:08d}"
        image = frame.image_hwc_u8
        files = {"images": _png(image), "predictions": _png(resize_class_map(result.class_map_hw_u8, *image.shape[:2]))}
        found = Reasons(
            score=result.worth.score,
            reasons=result.worth.reasons,
            place=tuple(round(float(value), 4) for value in result.worth.place),
            source=self._source,
            frame=frame.name,
            at=time.time(),
            size_bytes=sum(map(len, files.values())),
        )
        files["reasons"] = found.model_dump_json(indent=2).encode()
        for folder, content in reversed(files.items()):  # the image last: what has none is not there
            write_bytes(self._path(folder, name), content)
        self._remember(name, found)

    def _remember(self, name: str, found: Reasons) -> None:
        place = np.array(found.place)
        distances = self._distances(place)
        self._nearest = np.append(np.minimum(self._nearest, distances), distances.min(initial=np.inf))
        self._places = np.concatenate([self._places, place[None]]) if self._kept else place[None]
        self._kept[name] = found

    def _remove(self, name: str) -> None:
        for folder in _FOLDERS:
            self._path(folder, name).unlink(missing_ok=True)
        row = list(self._kept).index(name)
        gone = self._places[row]
        del self._kept[name]
        self._places, self._nearest = np.delete(self._places, row, axis=0), np.delete(self._nearest, row)
        for other in np.flatnonzero(self._distances(gone) <= self._nearest + 1e-9):
            gaps = self._distances(self._places[other])
            gaps[other] = np.inf
            self._nearest[other] = gaps.min()

    def _path(self, folder: str, name: str) -> Path:
        return self._folder / folder / f"{name}{_FOLDERS[folder]}"

    def _open(self) -> None:
        """Makes the folder, keeps other runs away from it, and learns what earlier ones kept."""
        for folder in _FOLDERS:
            make_folder(self._folder / folder)
        self._held = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        if hold(self._held) is False:
            raise ConfigError(f"Another process collects frames in {self._folder}.", "Give another folder.")
        self._describe()
        for folder in ("predictions", "reasons"):  # what a run left half
            for path in (self._folder / folder).iterdir():
                if _NAME.fullmatch(path.stem) and not self._path("images", path.stem).exists():
                    path.unlink()
        for path in sorted((self._folder / "reasons").glob("*.json")):
            found = _read(path)
            fits = found is not None and (not self._kept or len(found.place) == self._places.shape[1])
            if found is not None and fits and self._path("images", path.stem).is_file():
                self._remember(path.stem, found)

    def _describe(self) -> None:
        manifest, path = self._manifest, self._folder / CLASSES_FILE
        content: dict[str, Any] = {
            "classes": list(manifest.classes),
            "palette": [list(color) for color in manifest.colors],
        }
        if path.exists():
            with suppress(TextDataError):
                found = read_data(path)
                if isinstance(found, dict) and found.get("classes") == content["classes"]:
                    return
            raise ConfigError(f"{path} has other classes than the engine.", "Give another folder.")
        write_text(path, "".join(f"{key}: {json.dumps(value)}\n" for key, value in content.items()))


def open_collection(
    folder: Path, limit_gb: float, manifest: Manifest, source: str, events: EventLog, *, live: bool
) -> AbstractContextManager[BackgroundSink]:
    """Opens a collection that is written in the background; see `Collection`."""
    return in_background(Collection(folder, int(limit_gb * 1e9), manifest, source), events, live=live)


def _read(path: Path) -> Reasons | None:
    """Reads why a frame was kept; what somebody else made of the file is left alone."""
    try:
        return Reasons.model_validate(read_data(path))
    except (TextDataError, ValidationError, OSError):
        return None


def _png(image: npt.NDArray[np.uint8]) -> bytes:
    good, content = cv2.imencode(".png", np.ascontiguousarray(image), (cv2.IMWRITE_PNG_COMPRESSION, 1))
    if not good:
        raise DeviceError("OpenCV could not encode a frame as PNG.", "Use a build of OpenCV with PNG.")
    return content.tobytes()
