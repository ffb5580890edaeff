"""Pictures of a recording as a dataset, without labels: to calibrate on what the vehicle itself saw."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from jetseg.data.contract import Sample
from jetseg.data.files import place_of
from jetseg.errors import DataError
from jetseg.input_spec import FrameWindow
from jetseg.palette import Color
from jetseg.progress import track
from jetseg.ros.images import read_picture
from jetseg.ros.recording import open_recording, picture_topic, split_place
from jetseg.ros.stamp import SECOND

_SPLITS = {"all": (0.0, 1.0), "train": (0.0, 0.8), "val": (0.8, 1.0)}
_ANY_WINDOW = FrameWindow(low=0, high=65535)


class Recorded:
    """A topic of a recording; see `jetseg.data.contract.DatasetKind`."""

    form = "mcap:FILE:/topic"

    @staticmethod
    def open_split(spec: str, place: str, split: str) -> RecordedSplit:
        """Opens a split: "train" is the first 80 % of the pictures, "val" the rest, "all" both.

        Raises:
            ConfigError: The spec names no file.
            DataError: The file is missing or no recording, or has no such topic or split.
        """
        place_of(spec, place)
        return RecordedSplit(spec, *split_place(place, Recorded.form), split)


class RecordedSplit:
    """One split of a topic; see `jetseg.data.contract.Split`. It has no classes.

    Every message is decoded once when it is opened: what is no picture is left out.

    Args:
        spec: The spec that opens it again.
        path: The recording.
        topic: With pictures; None for the only one.
        split: "train" is the first 80 % of the pictures, "val" the rest, "all" both.
        window: Which values of pictures of more than 8 bits become 0 to 255.

    Raises:
        DataError: The file is missing or no recording, or has no such topic or split.
    """

    classes: tuple[str, ...] = ()
    palette: tuple[Color, ...] = ()
    ignore_index: int | None = None

    def __init__(self, spec: str, path: Path, topic: str | None, split: str, window: FrameWindow | None = None) -> None:
        if split not in _SPLITS:
            raise DataError(
                f"A recording has no split {split!r}; there are: {', '.join(_SPLITS)}.", "Choose one of these."
            )
        self.spec, self.split, self.window = spec, split, window
        self._path, self._topic = path, topic
        self._recording = open_recording(path)
        found = _index(path, topic, _state(path))
        begin, end = _SPLITS[split]
        self._first, last = round(begin * len(found)), round(end * len(found))
        self._found = found[self._first : last]
        if not self._found:
            raise DataError(f"{path} has {len(found)} pictures, too few for a split {split!r}.", "Use the split `all`.")

    def with_window(self, window: FrameWindow | None) -> RecordedSplit:
        """Returns the same split whose deep pictures become pixels in another way."""
        return RecordedSplit(self.spec, self._path, self._topic, self.split, window)

    def __len__(self) -> int:
        return len(self._found)

    def __getitem__(self, index: int) -> Sample:
        """Decodes one picture; in ascending order it is fastest."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"picture {index} of {len(self)}")
        found = self._found[index]
        picture = read_picture(self._recording.read(found.place), found.message_type, self.window)
        name = f"{self._path.stem}_{self._first + index % len(self):06d}"
        return Sample(name, picture.image_hwc_u8, None, found.shown_at)


@dataclass(frozen=True)
class _Found:
    """A picture: where it lies, its message's type, and when it is shown."""

    place: Any
    message_type: str
    shown_at: float


def _state(path: Path) -> tuple[tuple[str, int, int], ...]:
    """Tells a changed recording from the one before."""
    files = sorted(path.iterdir()) if path.is_dir() else [path] if path.exists() else []
    return tuple((file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in files)


@lru_cache(maxsize=16)
def _index(path: Path, topic: str | None, state: tuple[tuple[str, int, int], ...]) -> tuple[_Found, ...]:
    """Returns where the pictures of a topic lie, and when they are shown; the same file is not decoded again."""
    del state
    recording = open_recording(path)
    found, first, reason = [], None, ""
    try:
        name = picture_topic(recording, path, topic)
        for stored in track(recording.messages([name]), f"Counting the pictures of {path.name}"):
            try:
                read_picture(stored.content, stored.message_type, _ANY_WINDOW)
            except DataError as error:
                reason = f" {error.found}"
                continue
            first = stored.logged_ns if first is None else first
            shown_at = max((stored.logged_ns - first) / SECOND, 0.0)
            found.append(_Found(stored.place, stored.message_type, shown_at))
    finally:
        recording.close()
    if not found:
        raise DataError(f"{path} holds no picture of {name} that can be read.{reason}", "Check the recording.")
    return tuple(found)
