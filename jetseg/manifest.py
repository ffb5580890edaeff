"""The sidecar that travels with every artifact: what goes in, what comes out, where it came from.

The manifest of `<file>` is `<file>.json` beside it. A user may write one by hand, in JSON or YAML, for a
network that was made elsewhere.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, TypedDict

from pydantic import Field, field_validator, model_validator
from typing_extensions import Self, Unpack

from jetseg.config import Record
from jetseg.measured import Accuracy, Parity, Profile
from jetseg.palette import Color, default_palette

Precision = Literal["fp32", "fp16", "int16", "int8"]
EnginePrecision = Literal["fp32", "fp16", "int8"]
"""What engines are built in."""
Kind = Literal["checkpoint", "onnx", "engine"]
MAX_CLASSES = 254
"""A class map is uint8; one value stays free for void."""
OF_THE_OUTPUT = ("classes", "palette", "ignore_index")
"""What format 1 kept beside the output, and format 2 keeps in it."""
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
    """How to build the torch module of a checkpoint.

    Attributes:
        factory: A registry name or `package.module:factory`.
        options: Further arguments of the factory.
        output: Where the logits are in what it returns, as a key or position ("out", "0", "heads.1"); None where it
            returns them alone.
        train_output: The same in training mode; None where it returns them alone, or as the first.
    """

    factory: str
    options: dict[str, Any] = Field(default_factory=dict)
    output: str | None = None
    train_output: str | None = None


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
        lifted = {key: value for key, value in content.items() if key not in (*OF_THE_OUTPUT, "output", "format")}
        output = content.get("output", {})
        if not isinstance(output, dict):
            raise ValueError("output must be a mapping, as in {kind: logits}")
        return {**lifted, "outputs": [{**output, **{key: content[key] for key in OF_THE_OUTPUT if key in content}}]}

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


def _last_part(text: str) -> str:
    kind, colon, path = text.rpartition(":")
    return f"{kind}{colon}{PurePosixPath(path).name}" if path.startswith("/") else text
