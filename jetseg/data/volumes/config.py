"""classes.yaml of volumes, which is data of others: names stay in their folder, numbers in their bounds.

    classes: [background, liver, kidney]   # the first is what no organ is
    label_values: {0: 0, 5: 1, 2: 2, 3: 2} # class id of each value in a label volume, where they differ
    other_values: 0                        # class id of all values that are not listed; without it they are refused
    frames: {level: 40, width: 400}        # the window, in Hounsfield units; or {low: -160, high: 240}
    slices: {axis: axial, neighbors: 1, grid: {spacing_mm: 3, height: 128, width: 128}}
    tolerance_mm: 3                        # error of a surface that counts as none (normalized surface Dice)
    lesions: [tumor]                       # classes whose lesions are counted, each on its own
    root: ../ct                            # where the files are; by default the YAML's own folder
    volumes:
      - {image: a.nii.gz, labels: a_organs.nii.gz}                  # one volume with all labels
      - {image: b, labels: {liver: b/liver.nii.gz}, split: val}     # a DICOM series; one file per organ
      - {image: c.nii.gz, labels: c_organs.nii.gz, slices: {val: [[10, 14]], test: [[20, 24]]}}

A volume belongs to one split ("train" by default), or the ranges of slices that it names do and the others train.
Where masks of organs overlap, the one that is listed last counts. Slices count from 0 in the direction of
`jetseg.input_spec.SliceSpec`: axial ones from the feet up, coronal ones from the front, sagittal ones from the right.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import Field, ValidationError, field_validator, model_validator

from jetseg.config import Record, explain
from jetseg.errors import ConfigError
from jetseg.input_spec import FrameWindow, SliceSpec
from jetseg.output_spec import MAX_CLASSES, ClassName
from jetseg.palette import Color
from jetseg.text_data import TextDataError, read_data

CLASSES_FILE = "classes.yaml"
ALL = "all"
TRAIN = "train"
_Byte = Annotated[int, Field(ge=0, le=255)]
_Position = Annotated[int, Field(ge=0)]


class VolumeEntry(Record):
    """One volume; see the module."""

    image: str
    labels: str | dict[ClassName, str] | None = None
    split: str | None = None
    slices: dict[str, tuple[tuple[_Position, _Position], ...]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> VolumeEntry:
        if self.split is not None and self.slices:
            raise ValueError("a volume has either `split` or `slices`")
        if ALL in {self.split, *self.slices} or TRAIN in self.slices:
            raise ValueError(f"{ALL!r} always means all slices, and {TRAIN!r} those that no other split has")
        labels = self.labels.values() if isinstance(self.labels, dict) else [self.labels or "none"]
        for name in (self.image, *labels):
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name:
                raise ValueError(f"{name!r} must lie in the dataset's folder: use `root`")
        ranges = sorted(found for part in self.slices.values() for found in part)
        for first, last in ranges:
            if first > last:
                raise ValueError(f"slices: [{first}, {last}] ends before it begins")
        for (_, last), (first, _) in pairwise(ranges):
            if first <= last:
                raise ValueError(f"slices: {first} is in two ranges")
        return self


class VolumesConfig(Record):
    """The content of classes.yaml; see the module."""

    classes: tuple[ClassName, ...] = Field(min_length=1, max_length=MAX_CLASSES)
    palette: tuple[Color, ...] | None = None
    ignore_index: _Byte | None = None
    label_values: dict[int, int] | None = None
    other_values: int | None = None
    frames: FrameWindow | None = None
    slices: SliceSpec | None = None
    tolerance_mm: float = Field(3.0, gt=0)
    lesions: tuple[ClassName, ...] = ()
    root: str | None = None
    volumes: tuple[VolumeEntry, ...] = Field(min_length=1)

    @field_validator("volumes")
    @classmethod
    def _named_once(cls, volumes: tuple[VolumeEntry, ...]) -> tuple[VolumeEntry, ...]:
        names = [volume.image for volume in volumes]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"{twice[0]} is listed twice")
        return volumes

    @model_validator(mode="after")
    def _consistent(self) -> VolumesConfig:
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("classes has a name twice")
        if self.palette is not None and len(self.palette) != len(self.classes):
            raise ValueError(f"palette needs one color for each of the {len(self.classes)} classes")
        ids = {*range(len(self.classes))} | (set() if self.ignore_index is None else {self.ignore_index})
        others = [] if self.other_values is None else [self.other_values]
        for class_id in (*(self.label_values or {}).values(), *others):
            if class_id not in ids:
                raise ValueError(f"label_values: {class_id} is neither a class id nor ignore_index")
        organs = {name for volume in self.volumes if isinstance(volume.labels, dict) for name in volume.labels}
        unknown = sorted((organs | set(self.lesions)) - set(self.classes))
        if unknown:
            raise ValueError(f"there is no class {unknown[0]}")
        return self


def read_config(path: Path) -> VolumesConfig:
    """Reads classes.yaml.

    Raises:
        ConfigError: It is missing or wrong.
    """
    if not path.is_file():
        raise ConfigError(
            f"{path} does not exist.",
            "Write it with `classes:` and `volumes:`. If the folder is read-only, write a YAML file elsewhere, with "
            "`root: FOLDER` as well, and give nifti:FILE.yaml.",
        )
    try:
        return VolumesConfig.model_validate(read_data(path))
    except ValidationError as error:
        raise ConfigError(f"{path} does not describe volumes:\n{explain(error)}") from error
    except (OSError, TextDataError) as error:
        raise ConfigError(f"{path} could not be read as YAML: {error}", "Check the file.") from error
