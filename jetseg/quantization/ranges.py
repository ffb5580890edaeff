"""The ranges file: small text that every backend's quantizers are rendered from."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from jetseg.config import Record, explain
from jetseg.errors import CalibrationError
from jetseg.input_spec import InputSpec
from jetseg.network import Network
from jetseg.quantization.config import Method, Policy, current_correction
from jetseg.storage import sha256_file, write_text, writing
from jetseg.text_data import TextDataError, parse_content, read_content

BackendName = Annotated[str, Field(pattern="^[a-z_]+$")]
LARGEST_BOUND = 3.4e38
"""Of float32, in which engines keep their scales."""
Finite = Annotated[float, Field(allow_inf_nan=False, ge=-LARGEST_BOUND, le=LARGEST_BOUND)]


class TensorRange(Record):
    """Ranges of one activation tensor.

    `low` and `high` bound asymmetric quantizers, `amax` symmetric ones; `seen_low` and `seen_high` are the
    smallest and largest value that occurred.
    """

    low: Finite
    high: Finite
    amax: Annotated[Finite, Field(ge=0)]
    seen_low: Finite
    seen_high: Finite

    @model_validator(mode="after")
    def _in_order(self) -> TensorRange:
        for low, high in (("low", "high"), ("seen_low", "seen_high")):
            if getattr(self, low) > getattr(self, high):
                raise ValueError(f"{low} ({getattr(self, low):g}) is above {high} ({getattr(self, high):g})")
        return self


class Trial(Record):
    """A correction that was tried.

    Attributes:
        target: Backend whose arithmetic was simulated.
        corrections: What was done to the network.
        reconstruction_frames: Frames that its weights were reconstructed on.
        held_out_frames: Frames that it was judged by: fewer than there are for one that was behind; 0 if not noted.
        agreement: Pixels of these frames that got the float network's class, in percent.
    """

    target: str
    corrections: tuple[Annotated[str, BeforeValidator(current_correction)], ...]
    reconstruction_frames: int = 0
    held_out_frames: int = 0
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


class RangesRecord(Record):
    """What a ranges file says: what calibration found, and everything that it depends on.

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


@dataclass(frozen=True)
class Ranges:
    """An opened ranges file, checked against the network that it was made for.

    Attributes:
        path: The file.
        network: The float network that was calibrated.
        record: What the file says.
        sha256: Hash of the file.
    """

    path: Path
    network: Network
    record: RangesRecord
    sha256: str

    @property
    def tensors(self) -> dict[str, TensorRange]:
        """Range of each activation, by its name in the float network, or in the corrected one."""
        return self.record.tensors

    @property
    def placement(self) -> Policy:
        """Where the quantizers stood that corrections were made for."""
        return self.record.placement

    def network_for(self, target: str) -> Network:
        """Returns the float network that the ranges hold for: the corrected one beside the file, or the network itself.

        Args:
            target: Backend whose arithmetic the network is built for.

        Raises:
            CalibrationError: The corrected network is missing, is not the one that was calibrated, or is another
                backend's.
        """
        corrected = self.record.networks.get(target)
        if corrected is None:
            if self.record.networks and target not in {trial.target for trial in self.record.trials}:
                raise CalibrationError(
                    f"{self.path} holds for networks corrected for {', '.join(self.record.networks)}, "
                    f"not for {target}.",
                    f"Run `jetseg calibrate` again, with `--correct-for {target}`.",
                )
            return self.network
        if Path(corrected.file).name != corrected.file:
            raise CalibrationError(
                f"{self.path} names a network outside its own folder: {corrected.file}.",
                "Do not use this file; run `jetseg calibrate` again.",
            )
        path = self.path.with_name(corrected.file)
        if not path.is_file():
            raise CalibrationError(
                f"{self.path} holds for the corrected network {path.name}, and that file is not beside it.",
                "Copy it there as well, or run `jetseg calibrate` again.",
            )
        if sha256_file(path) != corrected.sha256:
            raise CalibrationError(
                f"{path} is not the network that {self.path.name} was made for: its SHA-256 differs.",
                "Copy both files again, or run `jetseg calibrate` again.",
            )
        return Network(path, self.network.manifest, corrected.sha256)


def open_ranges(path: Path | str, network: Network) -> Ranges:
    """Opens a ranges file, and refuses one that was made for something else.

    Args:
        path: The file.
        network: The float network that it must have been made for.

    Raises:
        CalibrationError: It is missing, malformed, or stale: the network or the preprocessing changed since.
    """
    file = Path(path)
    if not file.is_file():
        raise CalibrationError(f"{file} does not exist.", "Make it with `jetseg calibrate`.")
    content = read_content(file)
    try:
        record = RangesRecord.model_validate(parse_content(content))
    except ValidationError as error:
        raise CalibrationError(f"{file} is not a valid ranges file:\n{explain(error)}") from error
    except TextDataError as error:
        raise CalibrationError(f"{file} is not a valid ranges file: {error}.") from error
    check_made_for(record, network, file)
    return Ranges(file, network, record, hashlib.sha256(content).hexdigest())


def check_made_for(record: RangesRecord, network: Network, file: Path) -> None:
    """Refuses ranges that were made for something else.

    Raises:
        CalibrationError: The network, its weights wherever they lie, or the preprocessing is another one.
    """
    differences = []
    if record.model_sha256 != network.sha256:
        differences.append("another network (its SHA-256 differs)")
    if record.preprocessing != network.manifest.input:
        differences.append("another preprocessing")
    if differences:
        raise CalibrationError(
            f"{file} was made for {' and '.join(differences)}.", "Run `jetseg calibrate` again with this network."
        )


def save_ranges(path: Path, network: Network, record: RangesRecord) -> Ranges:
    """Writes a ranges file, JSON with one line per tensor, so that two of them compare well; opens it again."""
    head: dict[str, Any] = json.loads(record.model_dump_json(exclude={"tensors"}, exclude_none=True))
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
    tensors = [
        f"    {json.dumps(name)}: {json.dumps({key: float(f'{value:.7g}') for key, value in entry})}"
        for name, entry in record.tensors.items()
    ]
    body = "\n".join(["{", *lines, '  "tensors": {', ",\n".join(tensors), "  }", "}"])
    with writing(path):
        write_text(path, body + "\n")
        _remove_former_networks(path, record)
    return open_ranges(path, network)


def corrected_path(ranges_file: Path, target: str, digest: str) -> Path:
    """Returns the place of a corrected network, so that those of two calibrations do not have the same name."""
    return ranges_file.with_name(f"{ranges_file.name.removesuffix('.json')}.{target}-{digest[:8]}.onnx")


def _remove_former_networks(path: Path, record: RangesRecord) -> None:
    """Removes the corrected networks of calibrations before, and what is left of those that were cut off."""
    kept = {entry.file for entry in record.networks.values()}
    names = re.compile(rf"\.?({re.escape(path.name.removesuffix('.json'))}\.[a-z_]+-[0-9a-f]{{8}})\..+")
    for file in path.parent.iterdir():
        found = names.fullmatch(file.name)
        if found and f"{found[1]}.onnx" not in kept:
            file.unlink(missing_ok=True)
