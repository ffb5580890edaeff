"""Decides how the label images of a dataset are read, for all of its files alike.

A pixel of a PNG with a palette, or with fewer than 8 bits, has an index and a gray value, and tools disagree on which
of them is the label id: annotation tools write ids as indices, and optimizers such as oxipng turn 8-bit gray into a
palette, file by file, and keep the gray value. A frame of a phone has the same trouble with its orientation.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from jetseg.config import Record
from jetseg.data.decode import LabelCode, Reading, label_pixels
from jetseg.data.image_header import ImageHeader, read_header
from jetseg.errors import DataError

_MOST_DECODED = 64
"""Files whose pixels are looked at where headers do not decide; all headers are read."""
_TO_SAVE_ANEW = "Or save all label images as 8-bit gray."
_Vote = Reading | Literal["either"]


class LabelConfig(Record):
    """How label images are read, where the files leave that open; `labels` in classes.yaml.

    Attributes:
        read: "index": a pixel's index in the palette, or its bits, is its id; "gray": its gray value, 0 to 255.
        orientation: Of labels whose frames are turned by EXIF: "upright" as people see the frame, or "sensor".
    """

    read: Reading | None = None
    orientation: Literal["upright", "sensor"] | None = None


@dataclass(frozen=True)
class _Levels:
    """The gray value of each index of one file; `indices` are those that may occur in it."""

    path: Path
    one_bit: bool
    gray: npt.NDArray[np.uint8]
    indices: Collection[int]


def decide_reading(labels: Iterable[Path], code: LabelCode, asked: LabelConfig | None = None) -> Reading:
    """Decides what the pixels of all label images mean.

    Every header is read, about 30 microseconds each. Where index and gray value differ and only one of them is a label
    id, in whatever file, that one is right in all. One-bit files alone hold the ids 0 and 1.

    Args:
        labels: All label images of the dataset, whatever the split.
        code: The pixel values that may occur.
        asked: What the dataset's own settings say.

    Raises:
        DataError: Both are valid and differ, or files contradict each other.
    """
    if asked is not None and asked.read is not None:
        return asked.read
    headers = [(path, header) for path in labels if (header := read_header(path)) is not None]
    _check_palettes(headers, code)
    levels = [found for path, header in headers if (found := _levels(path, header)) is not None]
    votes = {vote: found for found in reversed(levels) if (vote := _vote(found, code)) is not None}
    unclear = [found for found in levels if not _valid(found, code)]
    for found in unclear[:: max(1, -(-len(unclear) // _MOST_DECODED))]:
        if vote := _vote(_as_decoded(found), code):
            votes.setdefault(vote, found)
    if "index" in votes and "gray" in votes:
        raise DataError(
            f"The label ids of {votes['index'].path} can only be its pixels' indices, those of {votes['gray'].path} "
            "only gray values.",
            f"Correct the files that are wrong. {_TO_SAVE_ANEW}",
        )
    if "gray" in votes:
        return "gray"
    if "index" not in votes and not (len(levels) == len(headers) and all(found.one_bit for found in levels)):
        for found in levels:
            exact = _as_decoded(found)
            if _vote(exact, code) == "either":
                raise _undecided(exact, code)
    return "index"


def check_orientation(
    pairs: Iterable[tuple[Path, Path]], asked: LabelConfig | None = None
) -> Literal["upright", "sensor"]:
    """Tells whether labels are drawn on the upright frames or on the pictures as the sensor gave them.

    The headers of all frames are read; without EXIF orientation, or where sizes show that labels are upright, they are.

    Args:
        pairs: Frame and label of each.
        asked: What the dataset's own settings say.

    Raises:
        DataError: A label fits the frame only as the sensor gave it, or all labels fit both ways.
    """
    if asked is not None and asked.orientation is not None:
        return asked.orientation
    open_pair, proven = None, False
    for image, label in pairs:
        frame = read_header(image)
        if frame is None or frame.orientation == 1 or (drawn := read_header(label)) is None:
            continue
        fits, fits_upright = drawn.size == frame.size, drawn.size == frame.upright_size
        if fits and not fits_upright:
            raise _unclear_orientation(image, frame, label, "has the size that the sensor gave it")
        proven |= fits_upright and not fits
        open_pair = open_pair or ((image, frame, label) if fits else None)
    if open_pair and not proven:
        raise _unclear_orientation(*open_pair, "may be drawn before or after that")
    return "upright"


def _unclear_orientation(image: Path, frame: ImageHeader, label: Path, how: str) -> DataError:
    return DataError(
        f"{image} is turned by its EXIF orientation ({frame.orientation}), and its label {label} {how}.",
        "Say in the classes.yaml of a folder dataset how labels are drawn: `labels: {orientation: sensor}` turns them "
        "like their frames, `labels: {orientation: upright}` takes them as they are.",
    )


def _vote(levels: _Levels, code: LabelCode) -> _Vote | None:
    """Returns which readings give label ids only; None if there are none, or if they give the same ids."""
    ids, valid = code.values, _valid(levels, code)
    if len(valid) != 2:
        return valid[0] if valid else None
    return "either" if any(ids[index] != ids[int(levels.gray[index])] for index in levels.indices) else None


def _valid(levels: _Levels, code: LabelCode) -> list[Reading]:
    """Returns the readings in which every index of a file is a label id."""
    by_index = all(index in code.values for index in levels.indices)
    by_gray = all(int(levels.gray[index]) in code.values for index in levels.indices)
    readings: tuple[tuple[Reading, bool], ...] = (("index", by_index), ("gray", by_gray))
    return [reading for reading, valid in readings if valid]


def _levels(path: Path, header: ImageHeader) -> _Levels | None:
    """Returns the gray values of a file in which they differ from the indices; None for all others."""
    if header.palette_rgb is None:
        if header.bits >= 8:
            return None
        highest = (1 << header.bits) - 1
        gray = (np.arange(highest + 1) * (255 // highest)).astype(np.uint8)
    else:
        colors = _colors(header)
        if not len(colors) or (colors != colors[:, :1]).any():
            return None
        gray = colors[:, 0]
    if np.array_equal(gray, np.arange(len(gray))):
        return None
    return _Levels(path, header.bits == 1 and header.palette_rgb is None, gray, range(len(gray)))


def _as_decoded(levels: _Levels) -> _Levels:
    """Returns the same with the indices that pixels have; with none for a file that is broken."""
    try:
        used = np.unique(label_pixels(levels.path, "index"))
    except DataError:
        used = np.empty(0, np.uint8)
    indices = [int(index) for index in used if index < len(levels.gray)]
    return _Levels(levels.path, levels.one_bit, levels.gray, indices)


def _undecided(levels: _Levels, code: LabelCode) -> DataError:
    ids = code.values
    index, gray = next((i, int(levels.gray[i])) for i in levels.indices if ids[i] != ids[int(levels.gray[i])])
    stored = "has one bit per pixel" if levels.one_bit else "holds gray values by an index"
    return DataError(
        f"{levels.path} {stored}: index {index} stands for the gray value {gray}, and both are label ids of this "
        "dataset.",
        "Say in the classes.yaml of a folder dataset which one is meant: `labels: {read: index}`, or "
        f"`labels: {{read: gray}}` if an image optimizer wrote these files. {_TO_SAVE_ANEW}",
    )


def _check_palettes(headers: Sequence[tuple[Path, ImageHeader]], code: LabelCode) -> None:
    """Refuses colored palettes in which an index that is a label id has another color from file to file."""
    seen: dict[int, tuple[Path, tuple[int, ...]]] = {}
    for path, header in headers:
        colors = _colors(header)
        if not len(colors) or not (colors != colors[:, :1]).any():
            continue
        for index in code.values:
            if index >= len(colors):
                continue
            color = tuple(int(part) for part in colors[index])
            other, known = seen.setdefault(index, (path, color))
            if known != color:
                raise DataError(
                    f"Index {index} has the color {known} in the palette of {other}, and {color} in that of {path}: "
                    "an image optimizer may have renumbered them.",
                    "If the indices are label ids all the same, say so in the classes.yaml of a folder dataset: "
                    f"`labels: {{read: index}}`. {_TO_SAVE_ANEW}",
                )


def _colors(header: ImageHeader) -> npt.NDArray[np.uint8]:
    palette = header.palette_rgb or b""
    return np.frombuffer(palette[: len(palette) // 3 * 3], dtype=np.uint8).reshape(-1, 3)
