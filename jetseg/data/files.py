"""Datasets of image files with label files beside them."""

from __future__ import annotations

from collections.abc import Sequence
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
)
from jetseg.errors import ConfigError, DataError
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
    ) -> None:
        self.spec = spec
        self.split = split
        self.classes = tuple(classes)
        self.palette = tuple(palette) if palette is not None else default_palette(self.classes)
        self.ignore_index = ignore_index
        self.pairs = tuple(pairs)
        self._code = code or LabelCode(len(self.classes), ignore_index)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Sample:
        pair = self.pairs[index]
        image = read_frame(pair.image)
        if pair.label is None:
            return Sample(pair.name, image, None)
        label = read_label(pair.label, self._code)
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


def require_folder(path: Path, holds: str) -> Path:
    """Checks that a folder exists.

    Raises:
        DataError: It does not; `holds` says what should be in it.
    """
    if not path.is_dir():
        what = "is a file" if path.exists() else "does not exist"
        raise DataError(f"The folder {path} {what}; it should hold {holds}.", "Check the path in the spec.")
    return path


def require_split(split: str, known: Sequence[str], place: Path) -> None:
    """Checks that there is such a split.

    Raises:
        DataError: There is none; those that exist are named.
    """
    if split not in known:
        there = ", ".join(known) or "none"
        raise DataError(f"{place} has no split {split!r}; there are: {there}.", "Choose one of these.")


def subfolders(folder: Path) -> list[str]:
    """Returns the sorted names of folders in a folder, hidden ones left out."""
    return sorted(item.name for item in folder.iterdir() if item.is_dir() and not item.name.startswith("."))


def image_files(folder: Path) -> dict[str, Path]:
    """Returns the image files of a folder by stem, sorted.

    Raises:
        DataError: Two images differ only in their suffix.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in IMAGE_SUFFIXES or path.name.startswith("."):
            continue
        if path.stem in found:
            raise DataError(
                f"{folder} holds both {found[path.stem].name} and {path.name}, which would share one label.",
                "Rename or remove one of them.",
            )
        found[path.stem] = path
    return dict(sorted(found.items()))


def pair_by_stem(images: dict[str, Path], labels: Path) -> list[FramePair]:
    """Finds the label of each image: the file in `labels` with the same stem.

    Raises:
        DataError: An image has no label, or there are no images.
    """
    there = {path.name for path in labels.iterdir()}
    pairs, missing = [], []
    for stem, image in images.items():
        names = [stem + suffix for suffix in LABEL_SUFFIXES if stem + suffix in there]
        if names:
            pairs.append(FramePair(stem, image, labels / names[0]))
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
