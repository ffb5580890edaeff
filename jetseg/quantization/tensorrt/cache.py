"""TensorRT's calibration cache: the text that its entropy calibrator reads scales from instead of images."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from jetseg.errors import CalibrationError
from jetseg.quantization.qdq.schemes import SYMMETRIC_LIMIT, symmetric_scale
from jetseg.quantization.ranges import LARGEST_BOUND

ALGORITHM = "EntropyCalibration2"
_LAST_MAJOR = 10
"""The last TensorRT with calibrators."""
_HEADER = re.compile(r"TRT-(\d{4}|\d{6})-(\w+)")
_HEX = re.compile(r"[0-9a-fA-F]{1,8}")
_VERSION = re.compile(r"(\d+)\.(\d{1,2})(?:\.(\d{1,2})(?:\.\d+)?)?")


@dataclass(frozen=True)
class CalibrationCache:
    """What a cache says.

    Attributes:
        version: TensorRT version that it is for, as in "10.3.0".
        algorithm: Calibration algorithm, as in "EntropyCalibration2".
        amax: Bound on the magnitudes of each tensor, 127 times its scale.
    """

    version: str
    algorithm: str
    amax: Mapping[str, float]


def render_cache(amax: Mapping[str, float], version: str) -> str:
    """Renders a calibration cache.

    A tensor that is always zero gets the scale 1, because TensorRT refuses a scale of 0.

    Args:
        amax: Bound on the magnitudes of each tensor, at least 0, by the tensor's name in the network.
        version: TensorRT version of the device, as in "10.3" or "10.16.1"; another one distrusts the cache.

    Raises:
        CalibrationError: The version is malformed or has no calibrators, or a tensor's bound or name cannot be
            written.

    >>> print(render_cache({"image": 127.0, "conv:0": 254.0}, "10.3"))
    TRT-100300-EntropyCalibration2
    image: 3f800000
    conv:0: 40000000
    <BLANKLINE>
    """
    lines = [f"TRT-{_version_number(version)}-{ALGORITHM}"]
    lines += [f"{_checked_name(name)}: {_scale_hex(name, value)}" for name, value in amax.items()]
    return "\n".join(lines) + "\n"


def parse_cache(text: str) -> CalibrationCache:
    r"""Reads a calibration cache; rendered again, it has the same scales bit for bit.

    Raises:
        CalibrationError: A line is malformed; it is named.

    >>> parse_cache("TRT-100300-EntropyCalibration2\nimage: 3f800000\n")
    CalibrationCache(version='10.3.0', algorithm='EntropyCalibration2', amax={'image': 127.0})
    """
    first, *lines = text.splitlines() or [""]
    header = _HEADER.fullmatch(first.strip())
    if header is None:
        raise _malformed(1, first, f"TRT-100300-{ALGORITHM} or the like")
    amax: dict[str, float] = {}
    for number, line in enumerate(lines, start=2):
        if not line.strip():
            continue
        name, _, digits = line.rpartition(":")
        if not name or not _HEX.fullmatch(digits.strip()):
            raise _malformed(number, line, "`tensor: scale`, the scale as up to 8 hexadecimal digits")
        scale = float(np.array(int(digits, 16), dtype=np.uint32).view(np.float32))
        if not 0 <= scale <= LARGEST_BOUND / SYMMETRIC_LIMIT:  # also refuses what is no number
            raise _malformed(number, line, f"a scale that is finite and not negative, instead of {scale}")
        if name in amax:
            raise _malformed(number, line, "each tensor once")
        amax[name] = scale * SYMMETRIC_LIMIT
    return CalibrationCache(_version_text(int(header[1])), header[2], amax)


def missing_names(known: Container[str], tensors: Iterable[str]) -> tuple[str, ...]:
    """Returns the tensors that a network needs and a cache lacks, in their order, each once."""
    return tuple(name for name in dict.fromkeys(tensors) if name not in known)


def _version_number(version: str) -> int:
    """Returns the number in the header: three fields of two digits, of one for the major and minor before 10."""
    match = _VERSION.fullmatch(version.strip())
    if match is None:
        raise CalibrationError(f"{version!r} is not a TensorRT version.", "Give one like 10.3 or 10.16.1.")
    major, minor, patch = (int(part or 0) for part in match.groups())
    if major > _LAST_MAJOR:
        raise CalibrationError(
            f"TensorRT {major} has no calibrators, so it reads no calibration cache (asked for {version}).",
            "Give it a Q/DQ network instead, which holds the same ranges.",
        )
    return major * _major_factor(major) + minor * 100 + patch


def _version_text(number: int) -> str:
    major, rest = divmod(number, _major_factor(number // 10_000))
    return f"{major}.{rest // 100}.{rest % 100}"


def _major_factor(major: int) -> int:
    return 10_000 if major >= _LAST_MAJOR else 1_000


def _checked_name(name: str) -> str:
    if not name or name.splitlines() != [name]:
        raise CalibrationError(
            f"A calibration cache has one line per tensor, and the name {name!r} does not fit on one.",
            "Rename the tensor in the network.",
        )
    return name


def _scale_hex(name: str, amax: float) -> str:
    """Returns the bits of the scale as 8 hexadecimal digits, the most significant first."""
    with np.errstate(over="ignore"):
        scale = np.float32(symmetric_scale(amax))
    if not (np.isfinite(scale) and amax >= 0):
        raise CalibrationError(
            f"The range of tensor {name} is {amax}; a finite one that is not negative was expected.",
            "Calibrate again, and look for images or weights that make the network overflow.",
        )
    return f"{int(scale.view(np.uint32)):08x}"


def _malformed(number: int, line: str, expected: str) -> CalibrationError:
    return CalibrationError(
        f"Line {number} of the calibration cache is {line[:80]!r}; expected {expected}.",
        "Make the cache again from the ranges file.",
    )
