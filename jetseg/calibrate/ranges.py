"""The ranges file: small text that every backend's quantizers are rendered from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from jetseg.calibrate.thresholds import Method
from jetseg.errors import CalibrationError
from jetseg.manifest import InputSpec, Record, explain
from jetseg.storage import write_text


class TensorRange(Record):
    """Ranges of one activation tensor.

    `low` and `high` bound asymmetric quantizers, `amax` symmetric ones; `seen_low` and `seen_high` are the
    smallest and largest value that occurred.
    """

    low: float
    high: float
    amax: float
    seen_low: float
    seen_high: float


class Ranges(Record):
    """What calibration found, and everything that it depends on.

    Attributes:
        model_sha256: Hash of the float ONNX file.
        data_sha256: Hash of the frames.
        data: Where they came from, for people.
        preprocessing: Input specification that they were preprocessed with.
        tensors: By the activation's name in the float ONNX file.
    """

    format: int = 1
    method: Method
    frames: int
    model_sha256: str
    data_sha256: str
    data: str
    preprocessing: InputSpec
    tensors: dict[str, TensorRange]


def save_ranges(path: Path, ranges: Ranges) -> None:
    """Writes a ranges file: JSON with one line per tensor, so that two of them compare well."""
    head: dict[str, Any] = json.loads(ranges.model_dump_json(exclude={"tensors"}, exclude_none=True))
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
    tensors = [
        f"    {json.dumps(name)}: {json.dumps({key: float(f'{value:.7g}') for key, value in entry})}"
        for name, entry in ranges.tensors.items()
    ]
    body = "\n".join(["{", *lines, '  "tensors": {', ",\n".join(tensors), "  }", "}"])
    write_text(path, body + "\n")


def load_ranges(path: Path, *, model_sha256: str, preprocessing: InputSpec) -> Ranges:
    """Reads a ranges file and refuses one that was made for something else.

    Raises:
        CalibrationError: It is missing, malformed, or stale: the network or the preprocessing changed since.
    """
    if not path.is_file():
        raise CalibrationError(f"{path} does not exist.", "Make it with `jetseg calibrate`.")
    try:
        ranges = Ranges.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise CalibrationError(f"{path} is not a valid ranges file:\n{explain(error)}") from error
    changed = []
    if ranges.model_sha256 != model_sha256:
        changed.append("another network (its SHA-256 differs)")
    if ranges.preprocessing != preprocessing:
        changed.append("another preprocessing")
    if changed:
        raise CalibrationError(
            f"{path} was made for {' and '.join(changed)}.", "Run `jetseg calibrate` again with this network."
        )
    return ranges
