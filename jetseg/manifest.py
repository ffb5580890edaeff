"""The sidecar that travels with every artifact: what goes in, what comes out, where it came from.

The manifest of `<file>` is `<file>.json` beside it. A user may write one by hand, in JSON or YAML, for a
network that was made elsewhere.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, TypedDict

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator
from typing_extensions import Self, Unpack

from jetseg.config import Record, explain
from jetseg.errors import ManifestError
from jetseg.palette import Color, default_palette
from jetseg.storage import write_text

Precision = Literal["fp32", "fp16", "int16", "int8"]
EnginePrecision = Literal["fp32", "fp16", "int8"]
"""What engines are built in."""
Kind = Literal["checkpoint", "onnx", "engine"]
MAX_CLASSES = 254
"""A class map is uint8; one value stays free for void."""
_OF_THE_OUTPUT = ("classes", "palette", "ignore_index")
"""What format 1 kept beside the output, and format 2 keeps in it."""
_FORMAT_1_KEYS = {"outputs.0.name": "output.name", "outputs.0.kind": "output.kind", "outputs": "classes"} | {
    f"outputs.0.{key}": key for key in _OF_THE_OUTPUT
}
"""What format 1 calls the keys of format 2, for messages."""
_Positive = Annotated[float, Field(gt=0)]


class InputSpec(Record):
    """What a network eats: value = (pixel * scale - mean) / std, pixels 0..255 in `color` order.

    `kind` is "normalized" (float32, 1 x channels x height x width, the caller normalizes) or "frame" (uint8,
    1 x height x width x 3 in `color` order, the graph normalizes).
    """

    name: str | None = None
    kind: Literal["normalized", "frame"] = "normalized"
    height: int = Field(gt=0)
    width: int = Field(gt=0)
    color: Literal["bgr", "rgb", "gray"] = "rgb"
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[_Positive, ...] = (1.0, 1.0, 1.0)

    @property
    def channels(self) -> int:
        """Number of channels that the network sees."""
        return 1 if self.color == "gray" else 3

    @field_validator("scale")
    @classmethod
    def _not_zero(cls, scale: float) -> float:
        if scale == 0:
            raise ValueError("a scale of 0 makes all pixels alike")
        return scale

    @model_validator(mode="after")
    def _one_number_per_channel(self) -> InputSpec:
        for key in ("mean", "std"):
            if len(getattr(self, key)) != self.channels:
                raise ValueError(f"{key} needs {self.channels} numbers for color {self.color}")
        return self


class OutputSpec(Record):
    """What comes out for one task.

    Attributes:
        name: Name in the graph; None where the graph has one output only.
        task: What it tells; "segmentation" is the only task so far.
        kind: "logits" (float, 1 x C x H x W) or "classmap" (uint8, 1 x H x W). Channels or ids beyond the classes
            count as void.
        classes: One name per label id.
        palette: RGB color per class; customary colors by default.
        ignore_index: Label id that is not scored, or None.
    """

    name: str | None = None
    task: Literal["segmentation"] = "segmentation"
    kind: Literal["logits", "classmap"] = "logits"
    classes: tuple[str, ...] = Field(min_length=1, max_length=MAX_CLASSES)
    palette: tuple[Color, ...] | None = None
    ignore_index: int | None = None

    @model_validator(mode="after")
    def _consistent(self) -> OutputSpec:
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("classes has a name twice")
        if self.palette is not None and len(self.palette) != len(self.classes):
            raise ValueError(f"palette needs one color for each of the {len(self.classes)} classes")
        return self


class ModelSpec(Record):
    """How to build the torch module of a checkpoint: a registry name or `package.module:factory`."""

    factory: str
    options: dict[str, Any] = Field(default_factory=dict)


class Accuracy(Record):
    """An accuracy in percent: measured, or `simulated` where the machine cannot run the engine."""

    data: str
    split: str
    frames: int
    miou: float | None
    pixel_accuracy: float | None
    per_class_iou: dict[str, float | None]
    simulated: bool = False

    @property
    def per_class_dice(self) -> dict[str, float | None]:
        """Dice coefficient of each class, in percent, as medical work quotes it: 2 IoU / (1 + IoU)."""
        return {name: None if iou is None else 200.0 * iou / (100.0 + iou) for name, iou in self.per_class_iou.items()}

    @property
    def mean_dice(self) -> float | None:
        """Mean of the classes' Dice coefficients, in percent."""
        defined = [value for value in self.per_class_dice.values() if value is not None]
        return sum(defined) / len(defined) if defined else None


class Parity(Record):
    """How far an artifact is from the one it was made from, on `frames` inputs.

    Attributes:
        frames: How many.
        max_abs_error: Largest difference of the logits; None if they were not compared.
        argmax_agreement: Fraction of the pixels that got the same class, 0 to 1.
    """

    frames: int
    max_abs_error: float | None = None
    argmax_agreement: float


class JointNormal(Record):
    """Several quantities that are judged together: their means, standard deviations and correlations."""

    mean: tuple[float, ...]
    std: tuple[Annotated[float, Field(gt=0)], ...]
    correlation: tuple[tuple[float, ...], ...]


class Profile(Record):
    """What frames and answers looked like when the engine was built; the drift monitor learns its bounds from it.

    Attributes:
        data: Kind of the dataset.
        split: Its split.
        frames: How many frames were measured.
        quantiles: 1 %, 50 % and 99 % of each signal of `jetseg.evaluation.signals`.
        joint: Signals that are vectors: colors, scene, classes.
        class_percent: Mean and standard deviation of each class's share of the picture, in percent.
        agreement_miou: mIoU of the engine against its parent on these frames, in percent; None if not measured.
    """

    data: str
    split: str
    frames: int
    quantiles: dict[str, tuple[float, float, float]]
    joint: dict[str, JointNormal]
    class_percent: dict[str, tuple[float, float]]
    agreement_miou: float | None = None


class Stage(Record):
    """One step of an artifact's history, with the settings that it ran with.

    A manifest travels with its artifact, so of absolute paths only the last part is kept.

    >>> Stage(name="train", settings={"data": "camvid:/home/me/camvid", "teacher": "/home/me/big.onnx"}).settings
    {'data': 'camvid:camvid', 'teacher': 'big.onnx'}
    """

    name: str
    settings: dict[str, Any] = Field(default_factory=dict)

    @field_validator("settings")
    @classmethod
    def _without_folders(cls, settings: dict[str, Any]) -> dict[str, Any]:
        return {key: _last_part(value) if isinstance(value, str) else value for key, value in settings.items()}


class _Changes(TypedDict, total=False):
    """The fields of a manifest, as `Manifest.changed` takes them."""

    kind: Kind
    input: InputSpec
    outputs: tuple[OutputSpec, ...]
    model: ModelSpec | None
    precision: Precision
    backend: str | None
    sha256: str | None
    parent_sha256: str | None
    calibration_sha256: str | None
    toolchain: dict[str, str]
    device: str | None
    parity: Parity | None
    accuracy: tuple[Accuracy, ...]
    profile: Profile | None
    stages: tuple[Stage, ...]


class Manifest(Record):
    """Everything that must be known to use an artifact correctly, and how it came to be.

    Format 1, whose one task stood beside the output, is read and becomes format 2.

    >>> Manifest.model_validate({"classes": ["sky", "road"], "input": {"height": 2, "width": 4}}).outputs[0].classes
    ('sky', 'road')
    """

    format: Literal[2] = 2
    kind: Kind = "onnx"
    input: InputSpec
    outputs: tuple[OutputSpec, ...] = Field(min_length=1)
    model: ModelSpec | None = None
    precision: Precision = "fp32"
    backend: str | None = None
    sha256: str | None = None
    parent_sha256: str | None = None
    calibration_sha256: str | None = None
    toolchain: dict[str, str] = Field(default_factory=dict)
    device: str | None = None
    parity: Parity | None = None
    accuracy: tuple[Accuracy, ...] = ()
    profile: Profile | None = None
    stages: tuple[Stage, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _lift(cls, content: Any) -> Any:  # noqa: ANN401 - whatever a file holds
        """Turns format 1 into format 2."""
        if not isinstance(content, dict) or "outputs" in content or content.get("format", 1) != 1:
            return content
        lifted = {key: value for key, value in content.items() if key not in (*_OF_THE_OUTPUT, "output", "format")}
        output = content.get("output", {})
        if not isinstance(output, dict):
            raise ValueError("output must be a mapping, as in {kind: logits}")
        return {**lifted, "outputs": [{**output, **{key: content[key] for key in _OF_THE_OUTPUT if key in content}}]}

    @model_validator(mode="after")
    def _one_task(self) -> Manifest:
        if len(self.outputs) > 1:
            raise ValueError("outputs has several tasks, and this version of jetseg serves one")
        return self

    @property
    def output(self) -> OutputSpec:
        """The output of the one task."""
        return self.outputs[0]

    @property
    def classes(self) -> tuple[str, ...]:
        """Name of each class, by id."""
        return self.output.classes

    @property
    def ignore_index(self) -> int | None:
        """Label id that is not scored, or None."""
        return self.output.ignore_index

    @property
    def num_classes(self) -> int:
        """Number of scored classes."""
        return len(self.classes)

    @property
    def colors(self) -> tuple[Color, ...]:
        """RGB color per class."""
        return self.output.palette or default_palette(self.classes)

    def changed(self, **changes: Unpack[_Changes]) -> Self:
        """Returns a manifest with other values, checked like one that is read."""
        return type(self).model_validate({**dict(self), **changes})

    def derive(self, stage: Stage, **changes: Unpack[_Changes]) -> Self:
        """Describes what a stage makes of this artifact.

        What was measured on this one does not hold for it: parity, accuracy and profile are empty unless given. Its
        parent is this artifact, by the hash that is recorded here, unless `parent_sha256` is given.

        Args:
            stage: The stage, which joins the history.
            changes: What else differs.
        """
        made: _Changes = {"parity": None, "accuracy": (), "profile": None, "sha256": None}
        made |= {"parent_sha256": self.sha256, "stages": (*self.stages, stage)}
        made |= changes
        return self.changed(**made)

    def with_output(self, *, kind: Literal["logits", "classmap"], name: str | None = None) -> Self:
        """Returns a manifest whose network gives another kind of output for the same classes."""
        return self.changed(outputs=(OutputSpec.model_validate({**dict(self.output), "kind": kind, "name": name}),))


def manifest_path(artifact: Path) -> Path:
    """Returns the place of an artifact's manifest."""
    return artifact.with_name(artifact.name + ".json")


def read_manifest(path: Path, artifact: Path) -> Manifest:
    """Reads a manifest file in JSON or YAML.

    Raises:
        ManifestError: It does not exist or is malformed; all mistakes are named.
    """
    if not path.is_file():
        raise ManifestError(
            f"{artifact} has no manifest: {path} does not exist.",
            "Write one that names classes, input and output (see the README), and give it as `manifest`.",
        )
    try:
        content = _parse(path.read_text(encoding="utf-8"))
        wanted = content.pop("content_sha256", None) if isinstance(content, dict) else None
        manifest = Manifest.model_validate(content)
    except ValidationError as error:
        keys = {} if isinstance(content, dict) and "outputs" in content else _FORMAT_1_KEYS
        raise ManifestError(f"{path} is not a valid manifest:\n{explain(error, keys)}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path} is neither JSON nor YAML: {error}") from error
    if wanted is not None and wanted != _content_sha256(content):
        raise ManifestError(
            f"{path} was changed since it was written: the SHA-256 of its content differs.",
            "Copy it again; if the change is yours, take `content_sha256` out of it.",
        )
    return manifest


def _parse(text: str) -> Any:  # noqa: ANN401 - whatever a file holds
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return yaml.safe_load(text)


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Writes a manifest with the hash of its content."""
    content: dict[str, Any] = json.loads(manifest.model_dump_json())
    write_text(path, json.dumps({**content, "content_sha256": _content_sha256(content)}, indent=2) + "\n")


def _content_sha256(content: Mapping[str, Any]) -> str:
    """Hashes what a manifest says, however it is laid out."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _last_part(text: str) -> str:
    kind, colon, path = text.rpartition(":")
    return f"{kind}{colon}{PurePosixPath(path).name}" if path.startswith("/") else text
