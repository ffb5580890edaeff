"""Image volumes, whatever their files are: NIfTI, or a folder that holds a DICOM series."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from jetseg.data.volumes.nifti_file import is_nifti, read_geometry, read_nifti
from jetseg.data.volumes.volume import Axis, Planes, Volume
from jetseg.errors import DataError


def read_volume(path: Path) -> Volume:
    """Reads a volume; the last two that were read are kept.

    Raises:
        DataError: It is neither a NIfTI file nor a DICOM series, or it is damaged.
    """
    try:
        changed_ns = path.stat().st_mtime_ns
    except OSError as error:
        raise DataError(f"{path} cannot be opened: {error.strerror}.", "Check the path.") from error
    return _read(path, changed_ns)


@lru_cache(maxsize=2)
def _read(path: Path, changed_ns: int) -> Volume:
    del changed_ns  # a file that was written anew is read anew
    if path.is_dir():
        from jetseg.data.volumes.dicom_series import read_series

        return read_series(path)
    if not is_nifti(path):
        raise DataError(f"{path} is no NIfTI file (.nii or .nii.gz).", "Convert it, or give a folder of DICOM files.")
    return read_nifti(path)


def planes_of(path: Path, axis: Axis) -> Planes:
    """Returns how the slices of a volume lie in it; of a NIfTI file only the header is read."""
    if is_nifti(path) and path.is_file():
        return Planes(*read_geometry(path), axis)
    volume = read_volume(path)
    return Planes(volume.values.shape, volume.affine, axis)
