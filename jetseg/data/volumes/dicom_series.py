"""DICOM series: a folder with a file per slice becomes one volume in millimeters and, for CT, Hounsfield units.

pydicom is imported here only. Files are untrusted: what a file states is bounded before its pixels are decoded.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from jetseg.data.volumes.nifti_file import rescaled
from jetseg.data.volumes.volume import MAX_VOXELS, Values, Volume
from jetseg.errors import DataError, MissingDependencyError

try:
    import openjpeg
    import pydicom
    import pylibjpeg  # noqa: F401 - pydicom finds it, if it is there
    from pydicom.encaps import get_frame
    from pydicom.filereader import read_file_meta_info
except ImportError as error:  # pragma: no cover - depends on the machine
    raise MissingDependencyError("pydicom", "medical", "reads DICOM files, with pylibjpeg and openjpeg") from error

logging.getLogger("pydicom").setLevel(logging.ERROR)

_PREFIX = b"DICM"
_PREFIX_AT = 128
_MOST_FILES = 4096
_MOST_BYTES = 256 << 20
_PLAIN = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.5"}
_JPEG_2000 = {"1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"}
_ALIKE = ("SeriesInstanceUID", "Rows", "Columns", "ImageOrientationPatient", "PixelSpacing")
_MOST_UNEVEN = 0.02
_HALVES = (slice(0, 3), slice(3, 6))
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def is_series(folder: Path) -> bool:
    """Tells whether a folder holds a DICOM file."""
    return folder.is_dir() and any(_is_dicom(path) for path in sorted(folder.iterdir()))


def read_series(folder: Path) -> Volume:
    """Reads the one series in a folder; its slices are ordered by where they lie, not by their names.

    Returns:
        Columns x rows x slices, with the slope and intercept that each file states.

    Raises:
        DataError: A file is damaged, slices belong to several series, are missing, lie twice or are tilted, or they are
            stored in a way that is not read here: in color, compressed otherwise, or all in one file.
    """
    paths = [path for path in sorted(folder.iterdir()) if _is_dicom(path)]
    if not paths:
        raise DataError(f"{folder} holds no DICOM files.", "Give the folder of one series.")
    if len(paths) > _MOST_FILES:
        raise DataError(f"{folder} holds {len(paths)} DICOM files; at most {_MOST_FILES} are read as one series.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, about values that the standard forbids and nothing here reads
        return _read_paths(folder, paths)


def _read_paths(folder: Path, paths: Sequence[Path]) -> Volume:
    slices = [_read(path) for path in paths]
    _check_alike(folder, paths, slices)
    along, down = (np.array(slices[0].ImageOrientationPatient[part], dtype=np.float64) for part in _HALVES)
    through = np.cross(along, down)
    places = np.array([_numbers(found, "ImagePositionPatient", 3) for found in slices])
    order = np.argsort(places @ through, kind="stable")
    step = _step(folder, (places @ through)[order], slices[0])
    pixels = [_pixels(paths[number], slices[number]) for number in order]
    spacing_down, spacing_along = _numbers(slices[0], "PixelSpacing", 2)
    affine = np.eye(4)
    affine[:3] = np.array([along * spacing_along, down * spacing_down, through * step, places[order[0]]]).T
    return Volume(str(folder), np.stack(pixels, axis=2), _LPS_TO_RAS @ affine)


def _is_dicom(path: Path) -> bool:
    if path.name.startswith(".") or path.name.upper() == "DICOMDIR" or not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(_PREFIX_AT + len(_PREFIX))[_PREFIX_AT:] == _PREFIX


def _read(path: Path) -> Any:  # noqa: ANN401 - pydicom has no types for what a file holds
    """Reads one slice, and refuses what cannot be honored before any pixel is decoded."""
    if path.stat().st_size > _MOST_BYTES:
        raise DataError(f"{path} is larger than {_MOST_BYTES >> 20} MB.", "Export one file per slice.")
    try:
        syntax = read_file_meta_info(path).TransferSyntaxUID
        if syntax not in _PLAIN | _JPEG_2000:
            raise DataError(
                f"{path} is stored as {syntax.name}, which is not read.",
                "Convert it to uncompressed DICOM or JPEG 2000, as with gdcmconv or dcmdjpeg.",
            )
        found: Any = pydicom.dcmread(path)
        lacking = [name for name in (*_ALIKE, "ImagePositionPatient", "PixelData") if name not in found]
        if lacking:
            raise DataError(f"{path} lacks {', '.join(lacking)}.", "Give the files of one series of slices.")
        sound = (
            int(found.get("NumberOfFrames") or 1) == 1
            and int(found.SamplesPerPixel) == 1
            and found.PhotometricInterpretation == "MONOCHROME2"
            and "ModalityLUTSequence" not in found
        )
        if not sound:
            raise DataError(
                f"{path} is no plain gray slice ({found.PhotometricInterpretation}, "
                f"{int(found.get('NumberOfFrames') or 1)} frames).",
                "Convert it to one gray file per slice, or to NIfTI.",
            )
        _numbers(found, "ImagePositionPatient", 3)
        _numbers(found, "ImageOrientationPatient", 6)
        if not 1 <= int(found.Rows) * int(found.Columns) <= MAX_VOXELS:
            raise DataError(f"{path} states {found.Rows} x {found.Columns} pixels.", "Export it anew.")
        if min(_numbers(found, "PixelSpacing", 2)) <= 0:
            raise DataError(f"{path} states a spacing of {list(found.PixelSpacing)}.", "Export it anew.")
    except DataError:
        raise
    except Exception as error:  # whatever pydicom meets in a broken file
        raise _damaged(path, error) from error
    return found


def _check_alike(folder: Path, paths: Sequence[Path], slices: Sequence[Any]) -> None:
    for name in _ALIKE:
        for path, found in zip(paths, slices, strict=True):
            if found[name].value != slices[0][name].value:
                raise DataError(
                    f"{paths[0].name} and {path.name} in {folder} have different {name}.",
                    "Put each series into a folder of its own.",
                )
    if int(slices[0].Rows) * int(slices[0].Columns) * len(slices) > MAX_VOXELS:
        raise DataError(f"{folder} has more than {MAX_VOXELS} voxels.", "Give a part of it.")


def _step(folder: Path, places_mm: npt.NDArray[np.float64], first: Any) -> float:  # noqa: ANN401
    """Returns the millimeters from slice to slice, which must all be alike."""
    if len(places_mm) == 1:
        return float(first.get("SliceThickness") or 1.0)
    steps = np.diff(places_mm)
    step = float(np.median(steps))
    if steps.min() <= _MOST_UNEVEN * step:
        raise DataError(f"{folder} has two slices at the same place.", "Give one series, and each slice once.")
    worst = int(np.abs(steps - step).argmax())
    if abs(steps[worst] - step) > _MOST_UNEVEN * step:
        raise DataError(
            f"{folder} has slices {step:.3g} mm apart, and {steps[worst]:.3g} mm after slice {worst + 1}: one is "
            "missing, or they are uneven.",
            "Add what is missing, or resample the series.",
        )
    return float(places_mm[-1] - places_mm[0]) / (len(places_mm) - 1)


def _pixels(path: Path, found: Any) -> Values:  # noqa: ANN401
    """Decodes one slice, columns x rows."""
    shape = (int(found.Rows), int(found.Columns))
    try:
        if found.file_meta.TransferSyntaxUID in _JPEG_2000:
            stated = openjpeg.get_parameters(get_frame(found.PixelData, 0, number_of_frames=1))
            if (stated["rows"], stated["columns"], stated["samples_per_pixel"]) != (*shape, 1):
                raise DataError(f"{path} states {shape} pixels, and its picture has others.", "Export it anew.")
        pixels = np.asarray(found.pixel_array)
        slope, intercept = float(found.get("RescaleSlope", 1)), float(found.get("RescaleIntercept", 0))
    except DataError:
        raise
    except Exception as error:
        raise _damaged(path, error) from error
    if pixels.shape != shape or slope == 0 or not np.isfinite([slope, intercept]).all():
        raise DataError(f"{path} does not hold what it states.", "Export it anew.")
    turned: Values = rescaled(pixels, slope, intercept).T
    return turned


def _numbers(found: Any, name: str, count: int) -> npt.NDArray[np.float64]:  # noqa: ANN401
    numbers = np.array([float(value) for value in found[name].value], dtype=np.float64)
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise ValueError(f"{name} has no {count} numbers")
    return numbers


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path} cannot be read as DICOM: {type(error).__name__}: {error}.", "Copy it again, or export it anew."
    )
