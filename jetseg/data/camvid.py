"""CamVid in the layout of the SegNet tutorial: SPLIT/*.png beside SPLITannot/*.png.

Brostow, Fauqueur, Cipolla: "Semantic object classes in video: A high-definition ground truth database"
(Pattern Recognition Letters, 2009), in the grouping of 11 classes that is customary for benchmarks.
"""

from __future__ import annotations

from pathlib import Path

from jetseg.data.files import (
    FileDataset,
    image_files,
    pair_by_stem,
    require_folder,
    require_frames,
    subfolders,
    unknown_split,
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


def open_camvid(spec: str, root: Path, split: str) -> FileDataset:
    """Opens a split of CamVid.

    Raises:
        DataError: The folder or the split is missing, or an image has no label.
    """
    require_folder(root, "CamVid: SPLIT/*.png and SPLITannot/*.png")
    folders = subfolders(root)
    splits = [name for name in folders if name + "annot" in folders]
    if split not in splits:
        raise unknown_split(split, splits, root)
    pairs = pair_by_stem(image_files(root / split), root / (split + "annot"))
    require_frames(pairs, root / split)
    return FileDataset(spec, split, CLASSES, VOID, pairs)
