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
from jetseg.input_spec import InputSpec
from jetseg.measured import Accuracy, Estimator, Parity, Profile, Proof
from jetseg.output_spec import OutputSpec, task_file_name
from jetseg.palette import Color, default_palette

Precision = Literal["fp32", "fp16", "bf16", "fp8", "int16", "int8"]
EnginePrecision = Precision
"""What engines are built in."""
QUANTIZED: frozenset[Precision] = frozenset({"fp8", "int16", "int8"})
"""Precisions with quantizers, which need calibrated ranges."""
Kind = Literal["checkpoint", "onnx", "engine"]
OF_HISTORY = (
    "backend",
    "parent_sha256",
    "calibration_sha256",
    "toolchain",
    "device",
    "parity",
    "accuracy",
    "profile",
    "estimator",
    "proof",
    "stages",
)
"""What only jetseg writes into a manifest."""
OF_THE_OUTPUT = ("classes", "palette", "ignore_index")
"""What format 1 kept beside the output, and format 2 keeps in it."""


StatedSizes = dict[str, dict[Literal["eval", "train"], dict[int, dict[int, tuple[int, int]]]]]
"""Sizes that a pruned network's code states wrongly: by module and mode, by call, by place: stated, and what holds."""


class ModelSpec(Record):
    """How to build the torch module of a checkpoint.

    Attributes:
        factory: A registry name or `package.module:factory`, which is called only if the user named it too.
        options: Further arguments of the factory.
        output: Where the logits are in what it returns, as a key or position ("out", "0", "heads.1"); None where it
            returns them alone.
        train_output: The same in training mode; None where it returns them alone, or as the first.
        heads: Of a network of several tasks, where the scores of each output are, in the order of the outputs; the
            same in both modes. Then there is neither `output` nor `train_output`.
        stated_sizes: Numbers of channels in the code that pruning changed; see `jetseg.models.stated_sizes`.
        removed: Output channels that pruning took, by layer, numbered as in the network before any pruning.
    """

    factory: str = Field(max_length=200, pattern=r"^[\w.:-]+$")
    options: dict[str, Any] = Field(default_factory=dict)
    output: str | None = None
    train_output: str | None = None
    heads: tuple[str, ...] = ()
    stated_sizes: StatedSizes = Field(default_factory=dict)
    removed: dict[str, tuple[Annotated[int, Field(ge=0)], ...]] = Field(default_factory=dict)


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
    estimator: Estimator | None
    proof: Proof | None
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
    estimator: Estimator | None = None
    proof: Proof | None = None
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
    def _tasks_have_names(self) -> Manifest:
        names = [output.name for output in self.outputs]
        files = {task_file_name(name or "").lower() for name in names}
        if len(names) > 1 and (None in names or len(files) != len(names)):
            raise ValueError("of several outputs each needs a name of its own, that of its tensor")
        return self

    @property
    def has_history(self) -> bool:
        """Whether it says that jetseg made the artifact; one that is written by hand describes it only."""
        return self.kind != "onnx" or any(getattr(self, key) for key in OF_HISTORY)

    @property
    def output(self) -> OutputSpec:
        """The main output, which is the first one."""
        return self.outputs[0]

    @property
    def tasks(self) -> tuple[Self, ...]:
        """One manifest for each output, as if the network had no other."""
        return tuple(self.model_copy(update={"outputs": (output,)}) for output in self.outputs)

    @property
    def classes(self) -> tuple[str, ...]:
        """Name of each class, by id."""
        return self.output.classes

    @property
    def ignore_index(self) -> int | None:
        """Label id that is not scored, or None."""
        return self.output.ignore_index

    @property
    def temperature(self) -> float:
        """What scores are divided by before they become probabilities; 1 where none was learned."""
        return 1.0 if self.estimator is None else self.estimator.temperature

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

        What was measured on this one does not hold for it: parity, accuracy, profile and estimator are empty
        unless given. Its parent is this artifact, by the hash that is recorded here, unless `parent_sha256` is
        given.

        Args:
            stage: The stage, which joins the history.
            changes: What else differs.
        """
        made: _Changes = {"parity": None, "accuracy": (), "profile": None, "estimator": None}
        made |= {"proof": None, "sha256": None, "parent_sha256": self.sha256, "stages": (*self.stages, stage)}
        made |= changes
        return self.changed(**made)

    def noted(self, **settings: object) -> Self:
        """Returns a manifest whose last stage has further settings."""
        *earlier, last = self.stages
        return self.changed(stages=(*earlier, Stage(name=last.name, settings={**last.settings, **settings})))

    def with_output(
        self, *, kind: Literal["logits", "classmap"], name: str | None = None, confidence: bool = False
    ) -> Self:
        """Returns a manifest whose network gives another kind of main output for the same classes."""
        other = {**dict(self.output), "kind": kind, "name": name, "confidence": confidence}
        return self.changed(outputs=(OutputSpec.model_validate(other), *self.outputs[1:]))


def _last_part(text: str) -> str:
    kind, colon, path = text.rpartition(":")
    return f"{kind}{colon}{PurePosixPath(path).name}" if path.startswith("/") else text
