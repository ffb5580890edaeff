"""Label volumes as class ids: one volume with all labels, or one mask per organ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jetseg.data.volumes.nifti_file import read_nifti
from jetseg.data.volumes.volume import Axis, Planes, Values, Volume, check_same_place
from jetseg.errors import DataError
from jetseg.postprocess import ClassMap

Labels = Path | dict[str, Path]
_UNKNOWN = -1
_MOST_VALUES = 1 << 16


@dataclass(frozen=True)
class VolumeCode:
    """How the values of label volumes become class ids.

    Attributes:
        classes: Class names.
        ignore_index: Label id that is not scored, or None.
        values: Class id of each value; where it is None a value is its id.
        others: Class id of values that are not listed; None refuses them.
    """

    classes: tuple[str, ...]
    ignore_index: int | None = None
    values: Mapping[int, int] | None = None
    others: int | None = None


def read_labels(labels: Labels, image: Volume, axis: Axis, code: VolumeCode) -> ClassMap:
    """Reads the class ids of a volume, slices x rows x columns.

    Raises:
        DataError: A file is damaged or lies elsewhere than the image, or a value is no class.
    """
    if isinstance(labels, Path):
        found = read_nifti(labels)
        check_same_place(image, found)
        return _coded(_cut(found, axis), code, labels)
    ids = np.zeros(Planes(image.values.shape, image.affine, axis).slices_shape, np.uint8)
    for name, path in labels.items():
        mask = read_nifti(path)
        check_same_place(image, mask)
        ids[_cut(mask, axis) > 0] = code.classes.index(name)
    return ids


def _cut(volume: Volume, axis: Axis) -> Values:
    return Planes(volume.values.shape, volume.affine, axis).cut(volume.values)


def _coded(values: Values, code: VolumeCode, path: Path) -> ClassMap:
    whole = np.rint(values).astype(np.int64) if values.dtype.kind == "f" else values.astype(np.int64)
    if values.dtype.kind == "f" and (whole != values).any():
        raise DataError(f"{path} holds fractions and not labels.", "Resample labels by nearest neighbor.")
    if whole.min() < 0 or whole.max() >= _MOST_VALUES:
        raise DataError(f"{path} holds the values {whole.min()} to {whole.max()}, and labels are 0 to 65535.")
    table = np.full(_MOST_VALUES, _UNKNOWN if code.others is None else code.others, np.int32)
    known = code.values if code.values is not None else {number: number for number in range(len(code.classes))}
    if code.values is None and code.ignore_index is not None:
        known = {**known, code.ignore_index: code.ignore_index}
    for value, class_id in known.items():
        if 0 <= value < _MOST_VALUES:
            table[value] = class_id
    ids = np.asarray(table[whole])
    if ids.min() == _UNKNOWN:
        stranger = int(whole[ids == _UNKNOWN].min())
        raise DataError(
            f"{path} holds the value {stranger}, which is no class.",
            "List it in `label_values`, or say by `other_values` which class all others are.",
        )
    return np.asarray(ids, dtype=np.uint8)
