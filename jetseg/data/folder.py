"""A folder of one's own: images/, labels/ and classes.yaml.

classes.yaml, of which only `classes` is required:

    classes: [background, membrane]    # one name per id
    palette: [[0, 0, 0], [0, 200, 80]] # RGB per class
    ignore_index: 255                  # label id that is not scored
    label_values: {0: 0, 255: 1}       # class id of each pixel value, where they differ
    splits: {val: [a, b], test: [c]}   # names of frames; the others are "train"
    root: ../membrane                  # where images/ and labels/ are; by default the YAML's own folder
    frames: {low: 0, high: 4095}       # which values of frames of more than 8 bits become 0 to 255
    labels: {read: gray}               # or `index`: what a label's pixel is, where the two differ
    targets: {depth: {folder: depth, task: depth}}  # further labels; see `jetseg.data.folder_targets`

With folders images/train, images/val, ... the splits are these. Without labels/ the frames have no labels,
which is enough for calibration.
"""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Annotated

from pydantic import ConfigDict, Field, ValidationError, model_validator

from jetseg.config import Record, explain
from jetseg.data.contract import SEGMENTATION
from jetseg.data.decode import LabelCode
from jetseg.data.files import (
    FileSplit,
    FramePair,
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
from jetseg.data.folder_targets import TargetConfig, TargetFolder
from jetseg.data.label_reading import LabelConfig
from jetseg.errors import ConfigError, DataError
from jetseg.input_spec import FrameWindow
from jetseg.output_spec import MAX_CLASSES, ClassName
from jetseg.text_data import TextDataError, read_data

CLASSES_FILE = "classes.yaml"
ALL = "all"
TRAIN = "train"


_Byte = Annotated[int, Field(ge=0, le=255)]


class FolderConfig(Record):
    """The content of classes.yaml."""

    # names of frames are often numbers, which YAML does not read as text
    model_config = ConfigDict(coerce_numbers_to_str=True)

    classes: tuple[ClassName, ...] = Field(min_length=1, max_length=MAX_CLASSES)
    palette: tuple[tuple[_Byte, _Byte, _Byte], ...] | None = None
    ignore_index: _Byte | None = None
    label_values: dict[_Byte, int] | None = None
    splits: dict[str, tuple[str, ...]] | None = None
    root: str | None = None
    frames: FrameWindow | None = None
    labels: LabelConfig | None = None
    targets: dict[str, TargetConfig] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _targets_are_sound(self) -> FolderConfig:
        for name, target in self.targets.items():
            if name == SEGMENTATION:
                raise ValueError(f"targets: {name} is what labels/ says; choose another name")
            target.output(name)
        return self

    @model_validator(mode="after")
    def _consistent(self) -> FolderConfig:
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("classes has a name twice")
        if self.palette is not None and len(self.palette) != len(self.classes):
            raise ValueError(f"palette needs one color for each of the {len(self.classes)} classes")
        for class_id in (self.label_values or {}).values():
            if not 0 <= class_id < len(self.classes) and class_id != self.ignore_index:
                raise ValueError(f"label_values: {class_id} is neither a class id nor ignore_index")
        return self

    @model_validator(mode="after")
    def _splits_are_sound(self) -> FolderConfig:
        seen: dict[str, str] = {}
        for split, names in (self.splits or {}).items():
            if split == ALL:
                raise ValueError(f"splits: {ALL!r} always means all frames; choose another name")
            for name in names:
                if name in seen:
                    raise ValueError(f"splits: {name!r} is in {seen[name]!r} and in {split!r}")
                if name in {"", ".", ".."} or PurePath(name).name != name or "\\" in name:
                    raise ValueError(f"splits: {name!r} must be a plain name in images/, without a path")
                seen[name] = split
        return self


class Folder:
    """A folder of one's own; see `jetseg.data.contract.DatasetKind`."""

    form = "folder:DIR or folder:FILE.yaml"

    @staticmethod
    def open_split(spec: str, place: str, split: str) -> FileSplit:
        """Opens a split.

        Args:
            spec: The spec that opens it again.
            place: The folder, or a YAML file whose `root` names it.
            split: A folder in images/, a split named in the YAML, or "all" for flat images/.

        Raises:
            ConfigError: The YAML file is missing or wrong.
            DataError: A folder or the split is missing, or an image has no label.
        """
        given = place_of(spec, place)
        config_path = given if given.suffix.lower() in {".yaml", ".yml"} else given / CLASSES_FILE
        if config_path != given:
            require_folder(given, f"images/, labels/ and {CLASSES_FILE}")
        config = _read_config(config_path)
        root = config_path.parent / Path(config.root or "").expanduser()
        images = require_folder(root / "images", "the frames")
        pairs = _find_pairs(images, root / "labels", config, split)
        require_frames(pairs, images)
        code = LabelCode(len(config.classes), config.ignore_index, config.label_values)
        kind = TargetFolder if config.targets else FileSplit
        opened = kind(
            spec,
            split,
            config.classes,
            config.ignore_index,
            pairs,
            code=code,
            palette=config.palette,
            all_labels=label_files([root / "labels"]),
            labels=config.labels,
            window=config.frames,
        )
        if isinstance(opened, TargetFolder):
            opened.add(root, config.targets)
        return opened


def _read_config(path: Path) -> FolderConfig:
    if not path.is_file():
        raise ConfigError(
            f"{path} does not exist.",
            "Write it with the line `classes: [name of id 0, name of id 1]`. If the folder is read-only, "
            "write a YAML file elsewhere, with `root: FOLDER` as well, and give folder:FILE.yaml.",
        )
    try:
        return FolderConfig.model_validate(read_data(path))
    except ValidationError as error:
        raise ConfigError(f"{path} does not describe a dataset:\n{explain(error)}") from error
    except (OSError, TextDataError) as error:
        raise ConfigError(f"{path} could not be read as YAML: {error}", "Check the file.") from error


def _find_pairs(images: Path, labels: Path, config: FolderConfig, split: str) -> list[FramePair]:
    folders = subfolders(images)
    flat = image_files(images)
    if folders and flat:
        raise DataError(
            f"{images} holds images and folders ({', '.join(folders)}).",
            "Put all images into folders, one per split, or all into images/ itself.",
        )
    if folders and config.splits is not None:
        raise ConfigError(
            f"{CLASSES_FILE} names splits, but {images} already has folders for them: {', '.join(folders)}.",
            "Remove `splits`.",
        )
    if not folders:
        return _paired(_named_split(flat, config, plain(split), images), labels, labelled=labels.is_dir())
    require_split(split, list(folders), images)
    annotated = labels / split
    if labels.is_dir():
        annotated = require_folder(subfolders(labels).get(plain(split), annotated), "the labels of this split")
    return _paired(image_files(folders[plain(split)]), annotated, labelled=labels.is_dir())


def _named_split(flat: dict[str, Path], config: FolderConfig, split: str, images: Path) -> dict[str, Path]:
    if split == ALL:
        return flat
    named = {plain(name): [plain(frame) for frame in frames] for name, frames in (config.splits or {}).items()}
    taken = dict.fromkeys(name for names in named.values() for name in names)
    for name in taken:
        if name not in flat:
            raise ConfigError(
                f"splits names {name!r}, but {images} has no image of that name.",
                "Give names without suffix; put names that are numbers with leading zeros in quotes.",
            )
    known = sorted({*named, TRAIN}) if named else []
    require_split(split, [*known, ALL], images)
    if split in named:
        return {name: flat[name] for name in sorted(named[split])}
    return {name: path for name, path in flat.items() if name not in taken}


def _paired(images: dict[str, Path], labels: Path, *, labelled: bool) -> list[FramePair]:
    if labelled:
        return pair_by_stem(images, labels)
    return [FramePair(name, path, None) for name, path in images.items()]
