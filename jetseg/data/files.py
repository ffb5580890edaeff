"""Datasets of image files with label files beside them."""

from __future__ import annotations

import copy
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jetseg.data.contract import Sample
from jetseg.data.decode import (
    IMAGE_SUFFIXES,
    LABEL_SUFFIXES,
    LabelCode,
    check_same_size,
    read_frame,
    read_label,
    upright,
)
from jetseg.data.image_header import read_header
from jetseg.data.label_reading import LabelConfig, check_orientation, decide_reading
from jetseg.errors import ConfigError, DataError
from jetseg.input_spec import FrameWindow
from jetseg.palette import Color, default_palette


@dataclass(frozen=True)
class FramePair:
    """The files of one frame; `label` is None in a dataset without labels."""

    name: str
    image: Path
    label: Path | None


class FileSplit:
    """One split of a dataset that lies in files. Nothing is decoded before a frame is asked for.

    Args:
        spec: The spec that opens it again.
        split: Name of the split.
        classes: Class names; their positions are the ids.
        ignore_index: Label id that is not scored, or None.
        pairs: The files, in order.
        code: How pixel values of a label become class ids.
        palette: RGB per class; customary colors by default.
        all_labels: The label images of all splits, which are read alike; those of `pairs` by default.
        labels: What the dataset's settings say of its label images.
        window: Which values of frames of more than 8 bits become 0 to 255.

    Raises:
        DataError: What label images mean is left open; see `decide_reading` and `check_orientation`.
    """

    def __init__(
        self,
        spec: str,
        split: str,
        classes: Sequence[str],
        ignore_index: int | None,
        pairs: Sequence[FramePair],
        *,
        code: LabelCode | None = None,
        palette: Sequence[Color] | None = None,
        all_labels: Iterable[Path] | None = None,
        labels: LabelConfig | None = None,
        window: FrameWindow | None = None,
    ) -> None:
        self.spec = spec
        self.split = split
        self.classes = tuple(classes)
        self.palette = tuple(palette) if palette is not None else default_palette(self.classes)
        self.ignore_index = ignore_index
        self.pairs = tuple(pairs)
        self.window = window
        self._code = code or LabelCode(len(self.classes), ignore_index)
        labelled = [(pair.image, pair.label) for pair in self.pairs if pair.label is not None]
        known = [label for _, label in labelled] if all_labels is None else all_labels
        self._reading = decide_reading(known, self._code, labels)
        self._turned = check_orientation(labelled, labels) == "sensor"

    def with_window(self, window: FrameWindow | None) -> FileSplit:
        """Returns the same split whose deep frames become pixels in another way."""
        other = copy.copy(self)
        other.window = window
        return other

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Sample:
        pair = self.pairs[index]
        image = read_frame(pair.image, self.window)
        if pair.label is None:
            return Sample(pair.name, image, None)
        label = read_label(pair.label, self._code, self._reading)
        if self._turned and (header := read_header(pair.image)) is not None:
            label = upright(label, header.orientation)
        check_same_size(pair.image, image, pair.label, label)
        return Sample(pair.name, image, label)


def place_of(spec: str, place: str) -> Path:
    """Returns the file or folder that a spec names.

    Raises:
        ConfigError: It names none.
    """
    if not place:
        raise ConfigError(f"The spec {spec!r} names no file or folder.", f"Write it as {spec.rstrip(':')}:PATH.")
    return Path(place).expanduser()


def count_of(spec: str, place: str, what: str, most: int = 10**9) -> int | None:
    """Returns N of the spec of drawn data, as in synthetic:N; None where it has none.

    Raises:
        ConfigError: N is not a number of `what`, from 1 to `most`.

    >>> count_of("synthetic:200", "200", "frames")
    200
    """
    name, colon, _ = spec.partition(":")
    if not colon:
        return None
    if not (place.isascii() and place.isdigit() and len(place) <= len(str(most)) and 1 <= int(place) <= most):
        raise ConfigError(f"In the spec {spec!r}, {place!r} is not a number of {what}.", f"Write it as {name}:8.")
    return int(place)


def require_folder(path: Path, holds: str) -> Path:
    """Checks that a folder exists.

    Raises:
        DataError: It does not; `holds` says what should be in it.
    """
    try:
        there, what = path.is_dir(), "is a file" if path.exists() else "does not exist"
    except OSError as error:  # a name that no disk takes
        there, what = False, f"cannot be opened ({error.strerror})"
    if not there:
        raise DataError(f"The folder {path} {what}; it should hold {holds}.", "Check the path in the spec.")
    return path


def require_split(split: str, known: Sequence[str], place: Path) -> None:
    """Checks that there is such a split.

    Raises:
        DataError: There is none; those that exist are named.
    """
    if plain(split) not in known:
        there = ", ".join(known) or "none"
        raise DataError(f"{place} has no split {split!r}; there are: {there}.", "Choose one of these.")


def plain(name: str) -> str:
    """Returns a name in one form of Unicode (NFC): systems write letters with accents in one piece or in two."""
    return unicodedata.normalize("NFC", name)


def subfolders(folder: Path) -> dict[str, Path]:
    """Returns the folders in a folder by name, sorted, hidden ones left out."""
    found = {plain(item.name): item for item in folder.iterdir() if item.is_dir() and not item.name.startswith(".")}
    return dict(sorted(found.items()))


def image_files(folder: Path) -> dict[str, Path]:
    """Returns the image files of a folder by stem, sorted.

    Raises:
        DataError: Two images differ only in their suffix, or in the form of Unicode of their names.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in IMAGE_SUFFIXES or path.name.startswith("."):
            continue
        stem = plain(path.stem)
        if stem in found:
            raise DataError(
                f"{folder} holds both {found[stem].name} and {path.name}, which would share one label.",
                "Rename or remove one of them.",
            )
        found[stem] = path
    return dict(sorted(found.items()))


def label_files(folders: Iterable[Path]) -> list[Path]:
    """Returns the label images in some folders and below them, hidden ones left out."""
    return [
        path
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in LABEL_SUFFIXES and not path.name.startswith(".")
    ]


def pair_by_stem(images: dict[str, Path], labels: Path) -> list[FramePair]:
    """Finds the label of each image: the file in `labels` with the same stem.

    Raises:
        DataError: An image has no label, or two in one format, or there are no images.
    """
    there: dict[str, Path] = {}
    for path in sorted(labels.iterdir()):
        name = plain(path.stem) + path.suffix.lower()
        if name in there and plain(path.stem) in images:
            raise DataError(
                f"{labels} holds both {there[name].name} and {path.name}, for one image.", "Remove the wrong one."
            )
        there[name] = path
    pairs, missing = [], []
    for stem, image in images.items():
        names = [stem + suffix for suffix in LABEL_SUFFIXES if stem + suffix in there]
        if names:
            pairs.append(FramePair(stem, image, there[names[0]]))
        else:
            missing.append(image)
    if missing:
        more = f" (and {len(missing) - 1} more images have none)" if len(missing) > 1 else ""
        raise DataError(
            f"{missing[0]} has no label: {labels / (missing[0].stem + '.png')} does not exist{more}.",
            f"Add it (as {', '.join(LABEL_SUFFIXES)}), or take the image away.",
        )
    return pairs


def require_frames(pairs: Sequence[FramePair], place: Path) -> None:
    """Checks that a split is not empty.

    Raises:
        DataError: It is.
    """
    if not pairs:
        raise DataError(f"{place} holds no images.", f"Known formats: {', '.join(sorted(IMAGE_SUFFIXES))}.")
