"""NIfTI files: what they hold is read within bounds, and what is written lies where its image lies."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from jetseg.data.volumes.nibabel_library import nibabel
from jetseg.data.volumes.volume import MAX_VOXELS, Values, Volume
from jetseg.errors import ArtifactError, DataError
from jetseg.storage import put, temporary_path

NIFTI_SUFFIXES = (".nii", ".nii.gz")
_HEADERS = {348: nibabel.Nifti1Header, 540: nibabel.Nifti2Header}
_MOST_BEFORE_VALUES = 16 << 20
_MILLIMETERS = {"unknown": 1.0, "mm": 1.0, "meter": 1000.0, "micron": 0.001}
_LONGEST_AXIS = (1 << 15) - 1
_EXACT_IN_FLOAT32 = 1 << 24
_LABEL_INTENT = "label"


def is_nifti(path: Path) -> bool:
    """Tells whether a file is a NIfTI file, by its name."""
    return path.name.lower().endswith(NIFTI_SUFFIXES)


def stem_of(path: Path) -> str:
    """Returns the name of a NIfTI file without its suffix.

    >>> stem_of(Path("ct.nii.gz"))
    'ct'
    """
    return path.name[: path.name.lower().rindex(".nii")] if is_nifti(path) else path.name


def read_nifti(path: Path) -> Volume:
    """Reads a volume, with the slope and intercept that the file states.

    Raises:
        DataError: It is damaged, too large, has more than three axes, says not where left and right are, or holds what
            are no plain numbers.
    """
    with _opened(path) as (header, stream):
        shape, dtype = _shape_of(path, header), _type_of(path, header)
        begin, offset = int(header.sizeof_hdr), float(header["vox_offset"])
        if not begin <= offset <= _MOST_BEFORE_VALUES:
            raise _damaged(path, f"its values begin at byte {offset:g}")
        stream.read(int(offset) - begin)
        wanted = int(np.prod(shape)) * dtype.itemsize
        content = stream.read(wanted)
    if len(content) != wanted:
        raise _damaged(path, f"it holds {len(content)} bytes of values, and its header promises {wanted}")
    values = np.frombuffer(content, dtype).reshape(shape, order="F")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise DataError(f"{path} holds values that are not numbers.", "Replace them before.")
    space = int(header["sform_code"]) or int(header["qform_code"])
    return Volume(str(path), _scaled(path, header, values), _affine_of(path, header), space)


def read_geometry(path: Path) -> tuple[tuple[int, ...], npt.NDArray[np.float64]]:
    """Reads the shape and affine of a file, and none of its values; see `read_nifti`."""
    with _opened(path) as (header, _):
        return _shape_of(path, header), _affine_of(path, header)


def write_class_volume(path: Path, classes_ijk: npt.NDArray[np.uint8], like: Volume) -> None:
    """Writes class ids as a NIfTI file in the geometry of an image, and reads it back.

    Args:
        path: Ends in .nii or .nii.gz.
        classes_ijk: In the order of the image's axes.
        like: The image.

    Raises:
        ArtifactError: What was read back is something else.
        StorageError: It could not be written.
    """
    image = nibabel.Nifti1Image(np.ascontiguousarray(classes_ijk), like.affine)
    image.header.set_xyzt_units("mm")
    image.header.set_intent(_LABEL_INTENT)
    image.set_sform(like.affine, code=like.space)
    image.set_qform(like.affine, code=like.space)
    content = image.to_bytes()
    with temporary_path(path) as temporary:
        temporary.write_bytes(gzip.compress(content, 6, mtime=0) if path.name.lower().endswith(".gz") else content)
        found = read_nifti(temporary)
        if not np.array_equal(found.values, classes_ijk) or not np.allclose(found.affine, like.affine, atol=1e-3):
            raise ArtifactError(f"{path} was not written as it should be.", "Give another place.")
        put(temporary, path)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, IO[bytes]]]:
    """Gives the header, and the stream behind it."""
    try:
        with path.open("rb") as file:
            stream: Any = gzip.GzipFile(fileobj=file) if path.name.lower().endswith(".gz") else file
            yield _read_header(path, stream), stream
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}.", "Check the path, or copy the file again.") from error


def _read_header(path: Path, stream: IO[bytes]) -> Any:  # noqa: ANN401 - nibabel has no types
    size = stream.read(4)
    length = next((n for n in _HEADERS for order in ("little", "big") if size == n.to_bytes(4, order)), None)
    if length is None:
        raise _damaged(path, "it does not begin as one")
    block = size + stream.read(length - 4)
    if len(block) < length:
        raise _damaged(path, "its header is not whole")
    try:
        header = _HEADERS[length].from_fileobj(BytesIO(block), check=False)
    except Exception as error:
        raise _damaged(path, str(error)) from error
    if bytes(header["magic"].tobytes())[:3] not in (b"n+1", b"n+2"):
        raise DataError(f"{path} keeps its values in another file (.hdr and .img).", "Convert it to one .nii.gz file.")
    return header


def _shape_of(path: Path, header: Any) -> tuple[int, ...]:  # noqa: ANN401 - nibabel has no types
    count = int(header["dim"][0])
    dims = [int(size) for size in header["dim"][1 : count + 1]] if 0 <= count <= 7 else []
    while len(dims) > 3 and dims[-1] == 1:
        dims.pop()
    if len(dims) != 3:
        raise DataError(f"{path} has {len(dims)} axes and not three.", "Split it into one file per volume.")
    if min(dims) < 1 or max(dims) > _LONGEST_AXIS or int(np.prod([float(size) for size in dims])) > MAX_VOXELS:
        raise DataError(f"{path} states {dims[0]} x {dims[1]} x {dims[2]} voxels; at most {MAX_VOXELS} are read.")
    return tuple(dims)


def _type_of(path: Path, header: Any) -> np.dtype[Any]:  # noqa: ANN401 - nibabel has no types
    try:
        dtype: np.dtype[Any] = np.dtype(header.get_data_dtype())
    except Exception as error:
        raise _damaged(path, f"its type of data is unknown: {error}") from error
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise DataError(f"{path} holds {dtype} and not plain numbers.", "Convert it to 16-bit integers or floats.")
    return dtype


def _scaled(path: Path, header: Any, values: Values) -> Values:  # noqa: ANN401 - nibabel has no types
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or not np.isfinite(slope):  # says that there is none
        slope, intercept = 1.0, 0.0
    if not np.isfinite(intercept):
        raise _damaged(path, f"its intercept is {intercept}")
    return rescaled(values, slope, intercept)


def rescaled(values: Values, slope: float, intercept: float) -> Values:
    """Returns value * slope + intercept, in integers where they hold it, else in float32 or float64.

    >>> rescaled(np.array([0, 4095], np.uint16), 1.0, -1024.0)
    array([-1024,  3071], dtype=int16)
    """
    if (slope, intercept) == (1, 0):
        return values.astype(values.dtype.newbyteorder("="), copy=False)
    if values.dtype.kind != "f" and slope.is_integer() and intercept.is_integer():
        ends = [int(end) * int(slope) + int(intercept) for end in (values.min(), values.max())]
        for whole in (np.int16, np.uint16, np.int32):
            if np.iinfo(whole).min <= min(ends) and max(ends) <= np.iinfo(whole).max:
                return (values.astype(np.int64) * int(slope) + int(intercept)).astype(whole)
    wide = values.astype(np.float64) * slope + intercept
    return wide.astype(np.float32) if np.abs(wide).max() < _EXACT_IN_FLOAT32 else wide


def _affine_of(path: Path, header: Any) -> npt.NDArray[np.float64]:  # noqa: ANN401 - nibabel has no types
    if int(header["sform_code"]) == 0 and int(header["qform_code"]) == 0:
        raise DataError(
            f"{path} does not say how it lies in the patient, so left and right cannot be told.",
            "Export it with its orientation (sform or qform).",
        )
    try:
        unit = header.get_xyzt_units()[0]
        affine = np.array(header.get_best_affine(), dtype=np.float64)
    except Exception as error:
        raise _damaged(path, f"its orientation is broken: {error}") from error
    affine[:3] *= _MILLIMETERS[unit]
    return affine


def _damaged(path: Path, what: str) -> DataError:
    return DataError(f"{path} is not a whole NIfTI file: {what}.", "Copy it again, or export it anew.")
