"""Cityscapes as its authors distribute it: leftImg8bit and gtFine, with fine labelIds.

Cordts et al.: "The Cityscapes Dataset for Semantic Urban Scene Understanding" (CVPR 2016). Of its label ids,
19 are scored; they are renumbered to train ids as the benchmark does.
"""

from __future__ import annotations

from pathlib import Path

from jetseg.data.decode import LabelCode
from jetseg.data.files import (
    FileSplit,
    FramePair,
    label_files,
    place_of,
    plain,
    require_folder,
    require_frames,
    require_split,
    subfolders,
)
from jetseg.errors import DataError

IGNORED = 255
_LABEL_IDS = {
    "road": 7,
    "sidewalk": 8,
    "building": 11,
    "wall": 12,
    "fence": 13,
    "pole": 17,
    "traffic light": 19,
    "traffic sign": 20,
    "vegetation": 21,
    "terrain": 22,
    "sky": 23,
    "person": 24,
    "rider": 25,
    "car": 26,
    "truck": 27,
    "bus": 28,
    "train": 31,
    "motorcycle": 32,
    "bicycle": 33,
}
CLASSES = tuple(_LABEL_IDS)
_HIGHEST_LABEL_ID = 33
_LICENSE_PLATE = 255
"""Label id -1 (license plate), as an 8-bit image holds it."""
_IMAGE_END, _LABEL_END = "_leftImg8bit.png", "_gtFine_labelIds.png"


class Cityscapes:
    """Cityscapes; see `jetseg.data.contract.DatasetKind`."""

    form = "cityscapes:DIR"

    @staticmethod
    def open_split(spec: str, place: str, split: str) -> FileSplit:
        """Opens a split.

        Raises:
            ConfigError: The spec names no folder.
            DataError: A folder or the split is missing, or an image has no label.
        """
        root = place_of(spec, place)
        images = require_folder(root / "leftImg8bit", "Cityscapes frames: SPLIT/CITY/*_leftImg8bit.png")
        labels = require_folder(root / "gtFine", "Cityscapes labels: SPLIT/CITY/*_gtFine_labelIds.png")
        splits = subfolders(images)
        require_split(split, list(splits), images)
        annotated = subfolders(labels).get(plain(split), labels / split)
        pairs = [
            pair
            for city, folder in subfolders(splits[plain(split)]).items()
            for pair in _pairs(folder, annotated / city)
        ]
        require_frames(pairs, splits[plain(split)])
        all_labels = [path for path in label_files([labels]) if path.name.lower().endswith(_LABEL_END.lower())]
        return FileSplit(spec, split, CLASSES, IGNORED, pairs, code=_label_code(), all_labels=all_labels)


def _pairs(images: Path, labels: Path) -> list[FramePair]:
    there = {_without(path, _LABEL_END): path for path in labels.iterdir()} if labels.is_dir() else {}
    pairs = []
    for image in sorted(images.iterdir()):
        name = _without(image, _IMAGE_END)
        if name is None:
            continue
        if name not in there:
            raise DataError(
                f"{image} has no label: {labels / (name + _LABEL_END)} does not exist.",
                "Unpack gtFine_trainvaltest.zip into the same folder.",
            )
        pairs.append(FramePair(name, image, there[name]))
    return pairs


def _without(path: Path, end: str) -> str | None:
    """Returns a file's name without its end, whose case does not count; None if it ends otherwise."""
    name = plain(path.name)
    return name[: -len(end)] if name.lower().endswith(end.lower()) else None


def _label_code() -> LabelCode:
    values = dict.fromkeys(range(_HIGHEST_LABEL_ID + 1), IGNORED)
    values[_LICENSE_PLATE] = IGNORED
    values.update({label_id: train_id for train_id, label_id in enumerate(_LABEL_IDS.values())})
    return LabelCode(len(CLASSES), IGNORED, values)
