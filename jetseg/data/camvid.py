"""CamVid in the layout of the SegNet tutorial: SPLIT/*.png beside SPLITannot/*.png.

Brostow, Fauqueur, Cipolla: "Semantic object classes in video: A high-definition ground truth database"
(Pattern Recognition Letters, 2009), in the grouping of 11 classes that is customary for benchmarks.
"""

from __future__ import annotations

from jetseg.data.files import (
    FileSplit,
    image_files,
    label_files,
    pair_by_stem,
    place_of,
    plain,
    require_folder,
    require_frames,
    require_split,
    subfolders,
)

CLASSES = (
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
)
VOID = 11


class CamVid:
    """CamVid; see `jetseg.data.contract.DatasetKind`."""

    form = "camvid:DIR"

    @staticmethod
    def open_split(spec: str, place: str, split: str) -> FileSplit:
        """Opens a split.

        Raises:
            ConfigError: The spec names no folder.
            DataError: The folder or the split is missing, or an image has no label.
        """
        root = require_folder(place_of(spec, place), "CamVid: SPLIT/*.png and SPLITannot/*.png")
        folders = subfolders(root)
        splits = {name: folders[name + "annot"] for name in folders if name + "annot" in folders}
        require_split(split, list(splits), root)
        name = plain(split)
        pairs = pair_by_stem(image_files(folders[name]), splits[name])
        require_frames(pairs, folders[name])
        return FileSplit(spec, split, CLASSES, VOID, pairs, all_labels=label_files(splits.values()))
