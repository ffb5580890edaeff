"""What a network eats, as a manifest says it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from jetseg.config import Record

Layout = Literal["nchw", "nhwc"]
"""Order of the axes: batch, channels, height, width, or the channels last."""
MAX_PIXELS = 1 << 26
_Positive = Annotated[float, Field(gt=0)]


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
