"""What comes out of a network, as a manifest says it: class maps, masks, depth."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from jetseg.config import Record
from jetseg.input_spec import Layout
from jetseg.palette import Color

Activation = Literal["softmax", "sigmoid", "none"]
Task = Literal["segmentation", "binary", "depth"]
MAX_CLASSES = 254
"""A class map is uint8; one value stays free for void."""
_Positive = Annotated[float, Field(gt=0)]


def _one_line(name: str) -> str:
    if len(f"{name}.".splitlines()) > 1:
        raise ValueError("the name of a class is one line")
    return name


ClassName = Annotated[str, AfterValidator(_one_line)]
"""Names stand in tables, logs and metrics, which go by lines."""


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
