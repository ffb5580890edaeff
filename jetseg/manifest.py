"""The sidecar that travels with every artifact: what goes in, what comes out, where it came from.

The manifest of `<file>` is `<file>.json` beside it. A user may write one by hand, in JSON or YAML, for a
network that was made elsewhere.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, TypedDict

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator
from typing_extensions import Self, Unpack

from jetseg.config import Record
from jetseg.measured import Accuracy, Estimator, Parity, Profile, Proof
from jetseg.palette import Color, default_palette

Precision = Literal["fp32", "fp16", "bf16", "fp8", "int16", "int8"]
EnginePrecision = Precision
"""What engines are built in."""
QUANTIZED: frozenset[Precision] = frozenset({"fp8", "int16", "int8"})
"""Precisions with quantizers, which need calibrated ranges."""
Kind = Literal["checkpoint", "onnx", "engine"]
Layout = Literal["nchw", "nhwc"]
"""Order of the axes: batch, channels, height, width, or the channels last."""
Activation = Literal["softmax", "sigmoid", "none"]
Task = Literal["segmentation", "binary", "depth"]
MAX_CLASSES = 254
"""A class map is uint8; one value stays free for void."""
MAX_PIXELS = 1 << 26
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
_Positive = Annotated[float, Field(gt=0)]


def _one_line(name: str) -> str:
    if len(f"{name}.".splitlines()) > 1:
        raise ValueError("the name of a class is one line")
    return name


ClassName = Annotated[str, AfterValidator(_one_line)]
"""Names stand in tables, logs and metrics, which go by lines."""


class FrameWindow(Record):
    """Which values of frames of more than 8 bits become pixels: `low` and below 0, `high` and above 255.

    Between them pixel = round((value - low) * 255 / (high - low)). Frames of 8 bits are pixels already. `level` and
    `width`, as radiologists say it, are read as well.

    >>> FrameWindow.model_validate({"level": 40, "width": 400})
    FrameWindow(low=-160.0, high=240.0)
    """

    low: float
    high: float

    @model_validator(mode="before")
    @classmethod
    def _read_level_and_width(cls, content: Any) -> Any:  # noqa: ANN401 - whatever a file holds
        if not isinstance(content, dict) or content.keys() != {"level", "width"}:
            return content
        level, width = content["level"], content["width"]
        if not isinstance(level, int | float) or not isinstance(width, int | float):
            raise ValueError("level and width must be numbers")
        return {"low": level - width / 2, "high": level + width / 2}

    @model_validator(mode="after")
    def _not_empty(self) -> FrameWindow:
        if not self.low < self.high:
            raise ValueError(f"low ({self.low:g}) must be below high ({self.high:g})")
        return self


class SliceGrid(Record):
    """Pixels that slices of a volume are laid on: resampled to `spacing_mm`, and padded around to `height` x `width`.

    A network sees every scanner's volumes at the size that it learned: `height * spacing_mm` millimeters are a frame.
    """

    spacing_mm: float = Field(gt=0)
    height: int = Field(gt=0, le=8192)
    width: int = Field(gt=0, le=8192)


class SliceSpec(Record):
    """How a volume becomes frames.

    Attributes:
        axis: The plane of a slice. Axial and coronal slices have the patient's right at the left of the picture, as
            radiologists look at them; coronal and sagittal ones have the head at the top, sagittal ones the face at
            the left.
        neighbors: Slices at each side that a network sees beside the one it segments (2.5-D). With 1 the blue channel
            is the slice before and the red one the slice after; at the ends the last one is repeated.
        grid: Pixels that slices are laid on; those of the volume itself where it is None.
    """

    axis: Literal["axial", "coronal", "sagittal"] = "axial"
    neighbors: Literal[0, 1] = 0
    grid: SliceGrid | None = None


class InputSpec(Record):
    """What a network eats: value = (pixel * scale - mean) / std, pixels 0..255 in `color` order.

    `kind` is "normalized" (float32, 1 x channels x height x width, the caller normalizes) or "frame" (uint8,
    1 x height x width x 3 in `color` order, the graph normalizes). With `layout` "nhwc", as TensorFlow and Keras have
    it, a normalized input is 1 x height x width x channels. `frames` says how frames of more than 8 bits become pixels;
    without it they are refused. `slices` says how volumes become frames.
    """

    name: str | None = None
    kind: Literal["normalized", "frame"] = "normalized"
    layout: Layout = "nchw"
    height: int = Field(gt=0)
    width: int = Field(gt=0)
    color: Literal["bgr", "rgb", "gray"] = "rgb"
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[_Positive, ...] = (1.0, 1.0, 1.0)
    frames: FrameWindow | None = None
    slices: SliceSpec | None = None

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

    @model_validator(mode="after")
    def _sees_neighbors(self) -> InputSpec:
        if self.slices is not None and self.slices.neighbors and self.color == "gray":
            raise ValueError("slices.neighbors come as channels, which color gray would mix: use color bgr")
        return self

    @model_validator(mode="after")
    def _fits_memory(self) -> InputSpec:
        if self.height * self.width > MAX_PIXELS:
            raise ValueError(f"{self.height} x {self.width} are more than {MAX_PIXELS} pixels")
        return self


class DepthSpec(Record):
    """What the one channel of a depth output means.

    Attributes:
        unit: Unit of the depth, for people, as in "m".
        low: Least depth that the network tells.
        high: Largest depth; what is farther, or has no depth, counts as not measured.
        loss: What it is trained with: "log-l1" (mean absolute error of the logarithm), "silog" (scale-invariant error
            of the logarithm, arXiv:1406.2283) or "l1" (mean absolute error).
    """

    unit: str = Field("m", max_length=16)
    low: _Positive = 1.0
    high: _Positive = 100.0
    loss: Literal["log-l1", "silog", "l1"] = "log-l1"

    @model_validator(mode="after")
    def _not_empty(self) -> DepthSpec:
        if not self.low < self.high:
            raise ValueError(f"low ({self.low:g}) must be below high ({self.high:g})")
        return self


class OutputSpec(Record):
    """What comes out for one task.

    Attributes:
        name: Name in the graph, by which the task is called too; None where the graph has one output only.
        task: What it tells: "segmentation" the class of each pixel, "binary" whether it is of the second of two
            classes, by one channel, "depth" how far it is away.
        kind: "logits" (float, 1 x C x H x W) or "classmap" (integers, 1 x H x W). Channels or ids beyond the classes
            count as void.
        confidence: A class map has a second plane, 1 x 2 x H x W: 255 times the probability of the class.
        layout: "nchw", or "nhwc" for logits 1 x H x W x C.
        activation: How scores decide. "softmax": a channel per class, the largest one. "sigmoid": one channel, and its
            pixels are of the second of two classes where its sigmoid is above `threshold`. "none": likewise, but the
            channel is a probability already. Of a depth output, "sigmoid": depth = low * (high / low) ** sigmoid; and
            "none": the channel is the depth.
        threshold: Probability above which a pixel is of the second class, where there is one channel.
        classes: One name per label id; none of a depth output.
        palette: RGB color per class; customary colors by default.
        ignore_index: Label id that is not scored, or None.
        depth: Unit and range; of a depth output only.
        budget: What an engine or a pruned network may lose in each metric, as in {"rmse": "2%"}; see
            `jetseg.evaluation.budget`.
    """

    name: str | None = None
    task: Task = "segmentation"
    kind: Literal["logits", "classmap"] = "logits"
    confidence: bool = False
    layout: Layout = "nchw"
    activation: Activation = "softmax"
    threshold: float = Field(0.5, gt=0, lt=1)
    classes: tuple[ClassName, ...] = Field((), validate_default=True, max_length=MAX_CLASSES)
    palette: tuple[Color, ...] | None = None
    ignore_index: int | None = None
    depth: DepthSpec | None = None
    budget: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _usual_for_the_task(cls, values: Any) -> Any:  # noqa: ANN401 - whatever a file holds
        """Fills in what goes without saying: one channel through a sigmoid for what is no segmentation."""
        if not isinstance(values, dict) or values.get("task") not in ("binary", "depth"):
            return values
        usual: dict[str, Any] = {"activation": "sigmoid"}
        if values["task"] == "depth":
            usual["depth"] = DepthSpec()
        elif not values.get("classes"):
            usual["classes"] = ("background", values.get("name") or "foreground")
        return usual | {key: value for key, value in values.items() if value not in (None, (), []) or key not in usual}

    @field_validator("classes")
    @classmethod
    def _there_are_some(cls, classes: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if (not classes) != (info.data.get("task") == "depth"):
            raise ValueError("a depth output has none" if classes else "name at least one class")
        return classes

    @model_validator(mode="after")
    def _consistent(self) -> OutputSpec:
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("classes has a name twice")
        if self.palette is not None and len(self.palette) != len(self.classes):
            raise ValueError(f"palette needs one color for each of the {len(self.classes)} classes")
        if self.confidence and (self.kind != "classmap" or self.layout != "nchw" or self.activation != "softmax"):
            raise ValueError("confidence is for a classmap of a network with a channel per class, in layout nchw")
        if (self.depth is not None) != (self.task == "depth"):
            raise ValueError("depth (unit and range) is for the task depth")
        if self.task != "segmentation" and self.activation == "softmax":
            raise ValueError(f"a {self.task} output has one channel: activation is sigmoid or none")
        if self.task == "depth" and self.kind == "classmap":
            raise ValueError("a depth output is no class map")
        if self.activation != "softmax" and self.task != "depth" and len(self.classes) != 2:
            raise ValueError(f"activation {self.activation} decides between two classes, the background first")
        return self

    @property
    def channels(self) -> int:
        """Number of channels of the logits, those beyond the classes apart."""
        return len(self.classes) if self.activation == "softmax" else 1

    @property
    def label(self) -> str:
        """What the task is called where a name is needed."""
        return self.name or self.task


def task_file_name(task: str) -> str:
    """Returns what a task is called in names of files: names of tensors may be paths, and lead anywhere.

    >>> task_file_name("/head/../lane:0")
    '_head_lane_0'
    """
    return re.sub(r"[^A-Za-z0-9_-]+", "_", task)


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
