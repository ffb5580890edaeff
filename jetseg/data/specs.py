"""Opens a dataset by its spec, as in `camvid:/data/camvid` or `synthetic:200`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from jetseg.data.camvid import open_camvid
from jetseg.data.cityscapes import open_cityscapes
from jetseg.data.contract import SegmentationDataset
from jetseg.data.folder import open_folder
from jetseg.data.joined import JoinedSplits
from jetseg.data.synthetic import SyntheticRoads
from jetseg.data.video import VideoFrames
from jetseg.errors import ConfigError

_FILE_KINDS: dict[str, Callable[[str, Path, str], SegmentationDataset]] = {
    "camvid": open_camvid,
    "cityscapes": open_cityscapes,
    "folder": open_folder,
    "video": VideoFrames,
}
_FORMS = "camvid:DIR, cityscapes:DIR, folder:DIR, folder:FILE.yaml, video:FILE, synthetic or synthetic:N"


def open_dataset(spec: str, split: str) -> SegmentationDataset:
    """Opens one split of a dataset. No frame is decoded yet.

    Args:
        spec: `camvid:DIR`, `cityscapes:DIR`, `folder:DIR` or `folder:FILE.yaml` (see `jetseg.data.folder`),
            `video:FILE` (no labels; see `jetseg.data.video`), or `synthetic[:N]` with N frames.
        split: Name of the split, as in "train", "val" or "test", or of several, as in "train+val".

    Raises:
        ConfigError: The spec is malformed or its settings are wrong.
        DataError: A folder, the split or a label is missing; the splits that exist are named.

    >>> len(open_dataset("synthetic:8", "val"))
    8
    """
    if "+" in split:
        return JoinedSplits([open_dataset(spec, part) for part in split.split("+")])
    kind, _, place = spec.partition(":")
    if kind == "synthetic":
        return SyntheticRoads(spec, split, _frame_count(spec, place))
    if kind not in _FILE_KINDS:
        raise ConfigError(f"{spec!r} is not a dataset spec.", f"Known forms: {_FORMS}.")
    if not place:
        raise ConfigError(f"The spec {spec!r} names no file or folder.", f"Write it as {kind}:PATH.")
    return _FILE_KINDS[kind](spec, Path(place).expanduser(), split)


def _frame_count(spec: str, count: str) -> int | None:
    if ":" not in spec:
        return None
    if not count.isascii() or not count.isdigit() or int(count) == 0:
        raise ConfigError(f"In the spec {spec!r}, {count!r} is not a number of frames.", "Write it as synthetic:200.")
    return int(count)
