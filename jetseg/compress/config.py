"""Settings of pruning, of factorization, and of the training that repairs a network afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from jetseg.config import Cli, Settings
from jetseg.manifest import EnginePrecision
from jetseg.registry import CRITERIA

Method = Literal["structured", "unstructured", "2:4"]
"""What pruning removes: channels, single weights, or two of every four neighboring weights."""
Scope = Literal["layer", "global", "isomorphic"]
"""What is ranked together; see `jetseg.compress.structured.PruneSettings`."""


class SpeedSettings(Settings):
    """What layers and networks are timed on."""

    backend: Annotated[str, Cli(metavar="NAME", registry="backends")] = Field(
        "onnxruntime", description="Backend that the speed is measured on."
    )
    precision: EnginePrecision = Field("fp32", description="Precision that it is measured in.")
    threads: int = Field(1, ge=1, description="Threads of a CPU backend while measuring.")


class PredictedSpeed(SpeedSettings):
    """What the speed on a device that is not here is predicted from."""

    latency_table: Annotated[Path | None, Cli(metavar="TABLE")] = Field(
        None, description="Predict the speed from this table of `jetseg measure-layers`, in place of measuring it here."
    )
    target: Annotated[str | None, Cli(metavar="NAME")] = Field(
        None, description="Device that the table must be of, as in orin-nano-8gb."
    )


class PruneConfig(PredictedSpeed):
    """Settings of pruning."""

    ratio: float = Field(
        0.5, gt=0, lt=1, description="Fraction of channels, or of weights if not structured, to remove."
    )
    method: Method = Field(
        "structured",
        description="structured removes channels; unstructured sets single weights to zero; 2:4 two of every four "
        "neighboring ones, which sparse tensor cores use.",
    )
    criterion: Annotated[str | None, Cli(metavar="NAME", registry="criteria")] = Field(
        None,
        description="What makes a channel or a weight unimportant; by default taylor with a speed to reach and data, "
        "because its scores of different layers compare, and magnitude elsewhere.",
    )
    scope: Scope | Literal["latency"] | None = Field(
        None,
        description="layer: remove that fraction of every layer; global: rank all layers together; isomorphic: those "
        "that are wired alike; latency: thin what costs the least importance per millisecond, the default with a speed "
        "to reach.",
    )
    threshold: float | None = Field(
        None, gt=0, description="Unstructured: zero the weights below this magnitude, in place of `ratio`."
    )
    speedup: float | None = Field(
        None, gt=1, description="Structured: become so many times as fast, measured, in place of `ratio`."
    )
    target_latency_ms: float | None = Field(
        None, gt=0, description="Structured: reach this latency, measured, in place of `ratio`."
    )
    round_to: int = Field(8, ge=1, description="Structured: pruned layers keep a multiple of this many channels.")
    max_ratio: float = Field(
        0.9, gt=0, lt=1, description="Structured: no layer loses more than this fraction of its channels."
    )
    evenness: float = Field(
        3.0,
        ge=0,
        le=10,
        description="Scope latency: power of a layer's thinness by which its channels count the more; with 1, costly "
        "layers end far narrower than the others.",
    )
    max_drop: Annotated[dict[str, str], Cli(metavar="TASK_METRIC=AMOUNT")] = Field(
        default_factory=dict,
        description="What a task may lose in the end on the validation split, in points or as a share, as in "
        "depth_rmse=2%; what lost more is set aside.",
    )
    task_importance: Literal["normalized", "raw"] = Field(
        "normalized",
        description="How several tasks share the importance of a channel with criterion taylor: normalized, so that "
        "each counts the same, or raw, by the size of its loss.",
    )
    norm: int = Field(2, ge=1, le=2, description="Structured magnitude: 1 for the L1 norm, 2 for the squared L2 norm.")
    keep: Annotated[tuple[str, ...], Cli(metavar="PATTERN")] = Field(
        (), description="Layer to leave alone, as in 'stem*'."
    )
    split: str = Field("train", description="Split to score and to fine-tune on.")
    batches: int = Field(16, ge=1, description="Batches of 4 frames that criteria look at, spread evenly.")
    seed: int = Field(0, ge=0, description="Fixes every random choice.")

    @property
    def wants_speed(self) -> bool:
        """Whether a speed is to be reached, not a number of channels."""
        return self.speedup is not None or self.target_latency_ms is not None

    @property
    def by_latency(self) -> bool:
        """Whether layers are thinned by importance per millisecond."""
        return self.method == "structured" and self.wants_speed and self.scope in (None, "latency")

    def scored_by(self, *, data: bool) -> str:
        """Returns the criterion, chosen or by default.

        Args:
            data: Whether there are frames to look at.
        """
        return self.criterion or ("taylor" if self.by_latency and data else "magnitude")

    @field_validator("criterion")
    @classmethod
    def _known(cls, name: str | None) -> str | None:
        if name is not None and name not in CRITERIA:
            raise ValueError(f"there is no pruning criterion {name}: choose from {', '.join(CRITERIA.names())}")
        return name

    @model_validator(mode="after")
    def _consistent(self) -> PruneConfig:
        for mistake in self._mistakes():
            raise ValueError(mistake)
        return self

    def _mistakes(self) -> Iterator[str]:
        if self.threshold is not None and (self.method != "unstructured" or self.criterion not in (None, "magnitude")):
            yield "threshold needs method unstructured and criterion magnitude"
        if self.speedup is not None and self.target_latency_ms is not None:
            yield "give speedup or target_latency_ms, not both"
        if self.wants_speed and self.method != "structured":
            yield f"method {self.method} removes no work that a processor could skip by itself: no speed to reach"
        if self.target is not None and self.latency_table is None:
            yield "target says of which device latency_table must be, and there is none"
        if self.latency_table is not None and not self.wants_speed:
            yield "latency_table needs speedup or target_latency_ms"
        if self.scope == "latency" and not self.wants_speed:
            yield "scope latency needs speedup or target_latency_ms"
        if self.method == "unstructured" and self.scope not in (None, "layer", "global"):
            yield f"method unstructured has no scope {self.scope}"


class ResizeConfig(Settings):
    """The size of input that a network is made for."""

    height: int = Field(gt=0, description="Height of the network's input, in pixels.")
    width: int = Field(gt=0, description="Width of the network's input, in pixels.")


class FactorizeConfig(SpeedSettings):
    """Settings of factorization."""

    form: Literal["spatial", "tucker"] = Field(
        "spatial",
        description="spatial makes a vertical and a horizontal convolution; tucker a 1x1, a smaller one and a 1x1.",
    )
    rank: Literal["energy", "vbmf", "budget"] = Field(
        "energy",
        description="How ranks are chosen: energy keeps a fraction of the squared singular values, vbmf what stands "
        "out of the noise, budget what costs a fraction of the layer's multiply-accumulates.",
    )
    energy: float = Field(0.9, gt=0, le=1, description="Fraction of the squared singular values to keep.")
    budget: float = Field(
        0.5, gt=0, lt=1, description="Fraction of a layer's multiply-accumulates that its factors may cost."
    )
    round_to: int = Field(8, ge=1, description="Ranks are multiples of this.")
    keep: Annotated[tuple[str, ...], Cli(metavar="PATTERN")] = Field(
        (), description="Layer to leave alone, as in 'stem*'."
    )
    size_only: bool = Field(False, description="Factorize whatever gets smaller, without asking if it gets faster.")


class FineTuneConfig(Settings):
    """Settings of the training that repairs a compressed network; without epochs there is none."""

    epochs: int = Field(0, ge=0, description="Epochs of fine-tuning; 0 leaves the network as it is.")
    teacher: Annotated[Path | None, Cli(metavar="FILE")] = Field(
        None, description="Network (checkpoint or ONNX) to imitate while fine-tuning."
    )
    teacher_manifest: Annotated[Path | None, Cli(metavar="FILE")] = Field(
        None, description="Manifest of the teacher, if it is not beside it."
    )
    lr: float = Field(5e-4, gt=0, description="Highest learning rate of fine-tuning.")
    batch_size: int = Field(8, ge=2, description="Crops per step on one device.")
    seed: int = Field(0, ge=0, description="Fixes every random choice.")
    resume: bool = Field(True, description="Go on with an interrupted fine-tuning, or start over.")
    training: Annotated[dict[str, Any], Cli(hidden=True)] = Field(
        default_factory=dict,
        description="Further settings of fine-tuning: fields of `jetseg.training.config.TrainConfig`. What is given "
        "by name wins.",
    )
