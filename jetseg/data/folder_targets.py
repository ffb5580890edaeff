"""Further labels of a folder of one's own: masks, class maps or depth, each in a folder beside labels/."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field

from jetseg.config import Record
from jetseg.data.contract import Sample
from jetseg.data.decode import LABEL_SUFFIXES, LabelCode, check_same_size, read_label
from jetseg.data.files import FileSplit, label_files, require_folder
from jetseg.data.image_file import decode_image, read_image_file
from jetseg.data.label_reading import decide_reading
from jetseg.errors import DataError
from jetseg.output_spec import ClassName, DepthSpec, OutputSpec
from jetseg.palette import Color

_Byte = Annotated[int, Field(ge=0, le=255)]


class TargetConfig(Record):
    """One entry of `targets` in classes.yaml.

    Attributes:
        folder: Its folder, beside images/, without a path; a frame that has no file there has no such label.
        task: What it tells.
        classes: One name per id; of a binary target by default "background" and its name.
        palette: RGB per class.
        ignore_index: Label id that is not scored.
        label_values: Class id of each pixel value, where they differ, as in {0: 0, 255: 1}.
        depth: Unit and range.
        scale: Depth of one step of a pixel's value; 0 means not measured. 1/256 m is KITTI's.
    """

    folder: str = Field(pattern=r"^[^./\\][^/\\]*$")
    task: Literal["segmentation", "binary", "depth"] = "binary"
    classes: tuple[ClassName, ...] = ()
    palette: tuple[Color, ...] | None = None
    ignore_index: _Byte | None = None
    label_values: dict[_Byte, int] | None = None
    depth: DepthSpec | None = None
    scale: float = Field(1 / 256, gt=0)

    def output(self, name: str) -> OutputSpec:
        """Returns the output that tells it."""
        given: dict[str, Any] = {"name": name, "task": self.task, "palette": self.palette, "depth": self.depth}
        return OutputSpec.model_validate({**given, "classes": self.classes, "ignore_index": self.ignore_index})


class TargetFolder(FileSplit):
    """A split whose frames have further labels; see `jetseg.data.contract.TargetSplit`."""

    targets: Mapping[str, OutputSpec]

    def add(self, root: Path, targets: Mapping[str, TargetConfig]) -> None:
        """Tells it where further labels are.

        Args:
            root: The folder that holds images/ and the targets' folders.
            targets: By name.

        Raises:
            DataError: A folder is missing, or its files contradict each other.
        """
        self._root, self._wanted = root, tuple[str, ...]()
        self.targets = {name: target.output(name) for name, target in targets.items()}
        self._configs = dict(targets)
        self._codes: dict[str, tuple[LabelCode, Any]] = {}
        for name, target in targets.items():
            folder = require_folder(root / target.folder, f"the labels of {name}")
            if target.task != "depth":
                code = LabelCode(len(self.targets[name].classes), target.ignore_index, target.label_values)
                self._codes[name] = code, decide_reading(label_files([folder]), code)

    def with_targets(self, names: Sequence[str]) -> TargetFolder:
        """Returns the same split whose samples have these targets."""
        other = copy.copy(self)
        other._wanted = tuple(names)
        return other

    def __getitem__(self, index: int) -> Sample:
        """Decodes one frame with the labels that it has."""
        sample, image = super().__getitem__(index), self.pairs[index].image
        found = {name: self._read(name, image, sample) for name in self._wanted}
        return replace(sample, targets={name: values for name, values in found.items() if values is not None})

    def _read(self, name: str, image: Path, sample: Sample) -> npt.NDArray[Any] | None:
        config = self._configs[name]
        folder = self._root / config.folder / image.parent.relative_to(self._root / "images")
        path = next((path for suffix in LABEL_SUFFIXES if (path := folder / (image.stem + suffix)).is_file()), None)
        if path is None:
            return None
        values = _read_depth(path, config.scale) if config.task == "depth" else read_label(path, *self._codes[name])
        check_same_size(image, sample.image_hwc_u8, path, values)
        return values


def _read_depth(path: Path, scale: float) -> npt.NDArray[Any]:
    content, _ = read_image_file(path)
    steps = decode_image(path, content, cv2.IMREAD_UNCHANGED)
    if steps.ndim != 2 or steps.dtype.kind not in "uf":
        raise DataError(f"{path} is no picture of depth: it has {steps.shape} values of {steps.dtype}.", "Write gray.")
    depth = steps.astype(np.float32) * np.float32(scale)
    return np.asarray(np.where(depth > 0, depth, np.float32(np.nan)))
