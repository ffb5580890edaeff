"""Settings of packing and verifying a kit."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from jetseg.config import Cli, Settings
from jetseg.engine.config import NumberFormat
from jetseg.manifest import EnginePrecision


class Tolerance(Settings):
    """What an engine may lose on the reference frames against the float network."""

    min_agreement: float = Field(
        97.0, ge=0, le=100, description="Least percent of pixels with the float network's class."
    )
    max_drop: float = Field(1.0, ge=0, description="Points of mIoU that the engine may lose on the frames.")
    max_class_drop: float = Field(5.0, ge=0, description="Points of IoU that each class may lose.")
    """Few frames hold little of a rare class, so this is wide."""


class PackConfig(Tolerance):
    """What a kit holds besides a network and its ranges."""

    split: str = Field("val", description="Split of the dataset, as in train, val or test.")
    frames: int = Field(6, gt=0, description="Reference frames, spread evenly over the split.")
    target: str | None = Field(
        None,
        description="Computer that it is for: xavier-nx, orin-nano-8gb, orin-nx-16gb, ...; or litert: a folder for an "
        "Android or iOS app, of a .tflite engine.",
    )
    threads: int | None = Field(None, gt=0, description="Threads of ONNX Runtime.")

    @property
    def tolerance(self) -> Tolerance:
        """What an engine may lose."""
        return Tolerance.model_validate({name: getattr(self, name) for name in Tolerance.model_fields})


class VerifyConfig(NumberFormat):
    """What is built from a kit."""

    backend: Annotated[str, Cli(metavar="NAME", registry="backends")] = Field(
        "onnxruntime", description="Runtime to build for."
    )
    precision: EnginePrecision | None = Field(
        None, description="Precision to build; by default that of the scheme, or int8 where the kit has ranges."
    )
    options: Annotated[dict[str, str], Cli(flag="--option", metavar="KEY=VALUE")] = Field(
        default_factory=dict, description="Setting of the backend."
    )
    threads: int | None = Field(None, gt=0, description="Threads of a CPU backend.")
