"""The ranges file: small text that every backend's quantizers are rendered from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from jetseg.errors import CalibrationError
from jetseg.manifest import InputSpec, Record, explain
from jetseg.quantization.observe.range_estimators import Method
from jetseg.storage import sha256_file, write_text

Policy = Literal["conv-inputs", "full"]
"""Where symmetric quantizers stand; see `jetseg.quantization.qdq.placement`."""


BackendName = Annotated[str, Field(pattern="^[a-z_]+$")]
Finite = Annotated[float, Field(allow_inf_nan=False)]
_FORMER_CORRECTIONS = {"pixels": "input-folding", "refit": "reconstruct"}
"""Names that earlier files and commands have; they are read for one more release."""


def current_correction(name: object) -> object:
    """Returns the present name of a correction, given that or its former one; anything else stays as it is.

    >>> current_correction("refit"), current_correction("shift")
    ('reconstruct', 'shift')
    """
    return _FORMER_CORRECTIONS.get(name, name) if isinstance(name, str) else name


class TensorRange(Record):
    """Ranges of one activation tensor.

    `low` and `high` bound asymmetric quantizers, `amax` symmetric ones; `seen_low` and `seen_high` are the
    smallest and largest value that occurred.
    """

    low: Finite
    high: Finite
    amax: Finite
    seen_low: Finite
    seen_high: Finite


class Trial(Record):
    """A correction that was tried.

    Attributes:
        target: Backend whose arithmetic was simulated.
        corrections: What was done to the network.
        reconstruction_frames: Frames that its weights were reconstructed on.
        agreement: Pixels of held-out frames that got the float network's class, in percent.
    """

    target: str
    corrections: tuple[Annotated[str, BeforeValidator(current_correction)], ...]
    reconstruction_frames: int = 0
    agreement: float

    @model_validator(mode="before")
    @classmethod
    def _take_former_name(cls, values: Any) -> Any:  # noqa: ANN401 - whatever the file holds
        if isinstance(values, dict) and "refit_frames" in values and "reconstruction_frames" not in values:
            values = {**values, "reconstruction_frames": values["refit_frames"]}
            del values["refit_frames"]
        return values


class CorrectedNetwork(Record):
    """The network that the ranges hold for, where corrections changed it: a file beside the ranges file."""

    file: str
    sha256: str


class Coverage(Record):
    """Whether the images were enough.

    Attributes:
        growth_percent: Growth of the ranges over the last quarter of the images, mean over the tensors.
        dominated: Tensors whose range one image alone decides.
    """

    growth_percent: float
    dominated: tuple[str, ...]


class Ranges(Record):
    """What calibration found, and everything that it depends on.

    Attributes:
        model_sha256: Hash of the float ONNX file.
        data_sha256: Hash of the frames.
        data: Where they came from, for people.
        preprocessing: Input specification that they were preprocessed with.
        placement: Where the quantizers stood that the corrections were made for.
        networks: Corrected networks by backend; one that was tried and is absent uses the float network as it is.
        trials: What each set of corrections did to held-out frames.
        coverage: Whether the images were enough.
        tensors: By the activation's name in the float ONNX file, or in the corrected one.
    """

    format: int = 1
    method: Method
    frames: int
    model_sha256: str
    data_sha256: str
    data: str
    preprocessing: InputSpec
    placement: Policy = "conv-inputs"
    networks: dict[BackendName, CorrectedNetwork] = Field(default_factory=dict)
    trials: tuple[Trial, ...] = ()
    coverage: Coverage | None = None
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


def calibrated_network(ranges_file: Path, ranges: Ranges, backend: str, model: Path) -> Path:
    """Returns the float network that the ranges hold for: the corrected one beside the file, or the model itself.

    Raises:
        CalibrationError: The corrected network is missing, is not the one that was calibrated, or is another backend's.
    """
    network = ranges.networks.get(backend)
    if network is None:
        if ranges.networks and backend not in {trial.target for trial in ranges.trials}:
            raise CalibrationError(
                f"{ranges_file} holds for networks corrected for {', '.join(ranges.networks)}, not for {backend}.",
                "Run `jetseg calibrate` again: it serves every backend.",
            )
        return model
    if Path(network.file).name != network.file:
        raise CalibrationError(
            f"{ranges_file} names a network outside its own folder: {network.file}.",
            "Do not use this file; run `jetseg calibrate` again.",
        )
    path = ranges_file.with_name(network.file)
    if not path.is_file():
        raise CalibrationError(
            f"{ranges_file} holds for the corrected network {path.name}, and that file is not beside it.",
            "Copy it there as well, or run `jetseg calibrate` again.",
        )
    if sha256_file(path) != network.sha256:
        raise CalibrationError(
            f"{path} is not the network that {ranges_file.name} was made for: its SHA-256 differs.",
            "Copy both files again, or run `jetseg calibrate` again.",
        )
    return path


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
