"""Frames of a video file, without labels: to calibrate on what the vehicle's own camera saw."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from jetseg.data.contract import Sample
from jetseg.data.files import place_of
from jetseg.data.video_reader import Timeline, VideoReader, not_a_video
from jetseg.errors import DataError
from jetseg.input_spec import FrameWindow
from jetseg.palette import Color
from jetseg.progress import track

_SPLITS = {"all": (0.0, 1.0), "train": (0.0, 0.8), "val": (0.8, 1.0)}
_STRIDE = 300
"""Frames that are rather skipped one by one than by a search, which begins anew at a key frame."""


class Video:
    """A video file; see `jetseg.data.contract.DatasetKind`."""

    form = "video:FILE"

    @staticmethod
    def open_split(spec: str, place: str, split: str) -> VideoSplit:
        """Opens a split: "train" is the first 80 % of the frames, "val" the rest, "all" both.

        Raises:
            ConfigError: The spec names no file.
            DataError: The file is missing or is not a video, or there is no such split.
        """
        return VideoSplit(spec, place_of(spec, place), split)


@dataclass(frozen=True)
class _Index:
    """What decodes of a file: the time stamp of each frame, when it is shown, and the numbers of key frames."""

    pts: tuple[int | None, ...]
    shown_at: tuple[float, ...]
    keys: tuple[int, ...]

    @property
    def can_search(self) -> bool:
        """Time stamps tell frames apart."""
        return all(
            one is not None and other is not None and one < other
            for one, other in zip(self.pts, self.pts[1:], strict=False)
        )


class VideoSplit:
    """One split of a video; see `jetseg.data.contract.Split`. It has no classes.

    The whole file is decoded once when it is opened, because no container tells how many of its frames decode.

    Args:
        spec: The spec that opens it again.
        place: The file.
        split: "train" is the first 80 % of the frames, "val" the rest, "all" both.
        window: Which values of frames of more than 8 bits become 0 to 255.

    Raises:
        DataError: The file is missing or is not a video, or there is no such split.
    """

    classes: tuple[str, ...] = ()
    palette: tuple[Color, ...] = ()
    ignore_index: int | None = None

    def __init__(self, spec: str, place: Path, split: str, window: FrameWindow | None = None) -> None:
        if split not in _SPLITS:
            raise DataError(f"A video has no split {split!r}; there are: {', '.join(_SPLITS)}.", "Choose one of these.")
        if not place.is_file():
            raise DataError(f"{place} does not exist.", "Check the path.")
        self.spec = spec
        self.split = split
        self.window = window
        self._place = place
        state = place.stat()
        self._index = _index(place, state.st_mtime_ns, state.st_size)
        self._can_search = self._index.can_search
        count = len(self._index.pts)
        begin, end = _SPLITS[split]
        self._first, self._length = round(begin * count), round(end * count) - round(begin * count)
        if self._length < 1:
            raise DataError(f"{place} has {count} frames, too few for a split {split!r}.", "Use the split `all`.")
        self._reader: VideoReader | None = None
        self._frames: Iterator[Any] = iter(())
        self._next = 0

    def with_window(self, window: FrameWindow | None) -> VideoSplit:
        """Returns the same split whose deep frames become pixels in another way."""
        return VideoSplit(self.spec, self._place, self.split, window)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Sample:
        """Decodes one frame; in ascending order it is fastest."""
        if not -self._length <= index < self._length:
            raise IndexError(f"frame {index} of {self._length}")
        number = self._first + index % self._length
        if self._reader is None or not self._next <= number <= self._next + _STRIDE:
            self._begin(number)
        frame = self._decode(number)
        if frame is None and self._reader is not None:
            self._begin(0)
            frame = self._decode(number)
        if frame is None or self._reader is None:
            self._reader = None
            raise DataError(
                f"{self._place} was changed: frame {number} cannot be decoded any more.", "Leave it while it is in use."
            )
        name = f"{self._place.stem}_{number:06d}"
        return Sample(name, self._reader.image(frame), None, self._index.shown_at[number])

    def _begin(self, number: int) -> None:
        """Opens the file anew, where frames can be told apart at the last key frame before the one that is wanted."""
        if self._reader is not None:
            self._reader.close()
        self._reader, self._next = VideoReader(self._place, self.window), 0
        key = max((key for key in self._index.keys if key <= number), default=0)
        stamp = self._index.pts[key]
        if self._can_search and key and stamp is not None:
            self._can_search = self._reader.seek(stamp)
            if self._can_search:
                self._next = key
            else:
                self._begin(0)
                return
        self._frames = self._reader.decoded()

    def _decode(self, number: int) -> Any | None:  # noqa: ANN401 - PyAV is optional
        """Returns a frame; None if it does not come."""
        for frame in self._frames:
            if self._can_search:
                wanted = self._index.pts[self._next]
                if frame.pts is None or wanted is None or frame.pts < wanted:
                    continue  # what comes before the key frame that was searched for
                if frame.pts > wanted:
                    return None
            self._next += 1
            if self._next > number:
                return frame
        return None


@lru_cache(maxsize=16)
def _index(place: Path, modified_ns: int, size_bytes: int) -> _Index:
    """Decodes a whole file once; the same file is not decoded again."""
    del modified_ns, size_bytes  # they tell a changed file from the one before
    reader = VideoReader(place)
    timeline = Timeline(reader)
    pts, shown_at, keys = [], [], []
    for number, frame in enumerate(track(reader.decoded(), f"Counting the frames of {place.name}")):
        pts.append(frame.pts)
        shown_at.append(timeline.place(frame)[0])
        if frame.key_frame:
            keys.append(number)
    reader.close()
    if not pts:
        raise not_a_video(str(place))
    return _Index(tuple(pts), tuple(shown_at), tuple(keys))
