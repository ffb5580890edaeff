"""Opens a dataset by its spec, as in `camvid:/data/camvid` or `synthetic:200`."""

from __future__ import annotations

from collections.abc import Sequence

from jetseg.address import SourceAddress
from jetseg.data.contract import SEGMENTATION, DatasetKind, SlicedSplit, Split, TargetSplit, WindowedSplit
from jetseg.data.joined import join_splits
from jetseg.errors import ConfigError, DataError
from jetseg.input_spec import FrameWindow, InputSpec, SliceSpec
from jetseg.output_spec import OutputSpec
from jetseg.registry import DATASETS


class Dataset:
    """A dataset, of which splits are opened when they are asked for.

    Args:
        spec: NAME:PLACE; the names are those of `jetseg.registry.DATASETS`.

    Raises:
        ConfigError: The spec names no dataset that jetseg knows.

    >>> dataset = Dataset("synthetic:8")
    >>> len(dataset.split("val")), dataset.split("train+val").classes[:2]
    (8, ('sky', 'building'))
    """

    def __init__(self, spec: str) -> None:
        self.spec = spec
        name, _, self._place = spec.partition(":")
        if "://" in spec:
            raise ConfigError(
                f"{SourceAddress(spec)} is an address, and a dataset is files.", f"Known forms: {known_forms()}."
            )
        if name not in DATASETS:
            raise ConfigError(f"{spec!r} is not a dataset spec.", f"Known forms: {known_forms()}.")
        self._kind: DatasetKind = DATASETS.get(name)
        self._splits: dict[str, Split] = {}

    @property
    def name(self) -> str:
        """What kind of dataset it is, as figures are quoted with it."""
        return self.spec.partition(":")[0]

    def split(self, name: str) -> Split:
        """Opens a split, as "train", "val" or "test", or several as one, as "train+val"; no frame is decoded yet.

        Raises:
            ConfigError: The place in the spec is malformed, or settings of the dataset are wrong.
            DataError: A folder, the split or a label is missing; the splits that exist are named.
        """
        if name not in self._splits:
            self._splits[name] = self._open(name)
        return self._splits[name]

    def _open(self, name: str) -> Split:
        if "+" in name:
            return join_splits([self.split(part) for part in name.split("+")])
        with DATASETS.calling(self.name):
            return self._kind.open_split(self.spec, self._place, name)


def open_dataset(data: Dataset | str) -> Dataset:
    """Opens a dataset by its spec; one that is open already is returned as it is.

    Args:
        data: NAME:PLACE, as in "camvid:DIR", "cityscapes:DIR", "folder:DIR", "video:FILE" or "synthetic:N".

    Raises:
        ConfigError: The spec names no dataset that jetseg knows.

    >>> open_dataset("synthetic:8").split("val")[0].image_hwc_u8.shape
    (192, 320, 3)
    """
    return data if isinstance(data, Dataset) else Dataset(data)


def match_input(split: Split, spec: InputSpec) -> Split:
    """Has a split make frames as a network's input says: the window of deep frames, the slices of volumes.

    Args:
        split: The split.
        spec: `input` of the network's manifest.

    Raises:
        DataError: The dataset's own settings say otherwise.
    """
    return match_slices(match_window(split, spec.frames), spec.slices)


def match_slices(split: Split, slices: SliceSpec | None) -> Split:
    """Has a split make frames of volumes as `input.slices` of a network's manifest says; see `match_input`."""
    own = slices_of(split)
    if own == slices or not isinstance(split, SlicedSplit):
        return split
    if own is not None:
        wanted = "says nothing of slices" if slices is None else f"says {_brief(slices)}"
        raise DataError(
            f"{split.spec} makes frames of volumes by {_brief(own)}, and the network's manifest {wanted}.",
            "Write the same `slices` in classes.yaml and under `input` in the manifest.",
        )
    return split.with_slices(slices)


def slices_of(split: Split) -> SliceSpec | None:
    """Returns how a split makes frames of volumes; None where nothing says so."""
    return split.slices if isinstance(split, SlicedSplit) else None


def _brief(slices: SliceSpec) -> str:
    return str(slices.model_dump(exclude_defaults=True) or slices.model_dump(include={"axis"}))


def match_window(split: Split, window: FrameWindow | None) -> Split:
    """Has a split turn frames of more than 8 bits into pixels as a network's input says.

    Args:
        split: The split.
        window: `input.frames` of the network's manifest.

    Raises:
        DataError: The dataset's own settings say otherwise.
    """
    own = window_of(split)
    if own == window or not isinstance(split, WindowedSplit):
        return split
    if own is not None:
        wanted = "has no window" if window is None else f"has {window.low:g} to {window.high:g}"
        raise DataError(
            f"{split.spec} turns the values {own.low:g} to {own.high:g} of its frames into pixels, and the network's "
            f"manifest {wanted}.",
            "Write the same `frames: {low: , high: }` in classes.yaml and under `input` in the manifest.",
        )
    return split.with_window(window)


def main_output(split: Split) -> OutputSpec:
    """Returns what the labels of a split are, as an output that tells them would be described."""
    return OutputSpec(name=SEGMENTATION, classes=split.classes, palette=split.palette, ignore_index=split.ignore_index)


def known_targets(split: Split) -> dict[str, OutputSpec]:
    """Returns what a split knows of its frames, by name, as outputs that tell it: its labels, and further targets."""
    known = {SEGMENTATION: main_output(split)} if split.classes else {}
    return {**known, **split.targets} if isinstance(split, TargetSplit) else known


def select_targets(split: Split, names: Sequence[str]) -> tuple[Split, tuple[OutputSpec, ...]]:
    """Has a split give what some tasks learn from.

    Args:
        split: The split.
        names: Of the tasks, the main one first; "segmentation" is what the labels say.

    Returns:
        The split, and one output for each task.

    Raises:
        DataError: The split does not know it; what it knows is listed.
    """
    known = known_targets(split)
    for name in names:
        if name not in known:
            raise DataError(
                f"{split.spec} has nothing to learn named {name}.", f"It has: {', '.join(known) or 'no labels'}."
            )
    further = [name for name in names if name != SEGMENTATION]
    if isinstance(split, TargetSplit):
        split = split.with_targets(further)
    return split, tuple(known[name] for name in names)


def window_of(split: Split) -> FrameWindow | None:
    """Returns which values of frames of more than 8 bits a split turns into pixels; None where nothing says so."""
    return split.window if isinstance(split, WindowedSplit) else None


def open_split(spec: str, split: str) -> Split:
    """Opens one split of a dataset; see `Dataset.split`."""
    return Dataset(spec).split(split)


def known_forms() -> str:
    """Returns the forms of a spec that jetseg knows, for messages."""
    return ", ".join(DATASETS.get(name).form for name in DATASETS.names())
