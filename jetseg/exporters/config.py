"""Settings of export."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from jetseg.config import Settings

Head = Literal["logits", "classmap", "confidence"]
PlanHead = Literal["logits", "classmap"]
InputKind = Literal["normalized", "frame"]
PlanPrecision = Literal["fp32", "fp16"]


class GraphEnds(Settings):
    """What an exported graph does besides the network; see `jetseg.exporters.graph_ends`."""

    input: InputKind = Field(
        "normalized",
        description="What goes in: normalized floats, or frame for uint8 pixels, which the graph normalizes.",
    )


class ExportConfig(GraphEnds):
    """Settings of export to ONNX."""

    head: Head = Field(
        "logits",
        description="What comes out: logits, classmap for uint8 class ids, or confidence for these and, in a second "
        "uint8 plane, how sure the network is of each.",
    )
    temperature: float = Field(
        1.0,
        gt=0,
        description="What scores are divided by before the second plane of head confidence is computed, as `jetseg "
        "explain` finds it.",
    )
    height: int | None = Field(None, gt=0, description="Input height in pixels; by default the checkpoint's.")
    width: int | None = Field(None, gt=0, description="Input width in pixels; by default the checkpoint's.")
    coarse: bool = Field(
        False,
        description="Leave out the upsampling at the network's end: logits are coarser, and the class map is resized "
        "by nearest neighbor.",
    )
    opset: int = Field(
        18, ge=18, description="ONNX opset. 18 is what torch's exporter writes natively; others are converted from it."
    )
    parity_frames: int = Field(4, ge=1, description="Number of frames on which torch and ONNX Runtime are compared.")
    split: str = Field("val", description="Split of the data to take these frames from.")

    @model_validator(mode="after")
    def _consistent(self) -> ExportConfig:
        if self.coarse and self.head != "logits":
            raise ValueError("coarse goes with head logits")
        if self.temperature != 1 and self.head != "confidence":
            raise ValueError("temperature goes with head confidence")
        return self


class PlanConfig(GraphEnds):
    """Settings of export to a TensorRT engine by torch-tensorrt."""

    head: PlanHead = Field("logits", description="What comes out: logits, or classmap for uint8 class ids.")
    precision: PlanPrecision = Field(
        "fp16", description="What a TensorRT engine computes in; INT8 goes through ONNX and calibration."
    )
    workspace_mb: int = Field(
        0, ge=0, description="Device memory that TensorRT's builder may try layers with; 0 lets it choose."
    )
    optimization_level: int = Field(
        3, ge=0, le=5, description="How long TensorRT's builder searches: 0 (fast build) to 5 (fast engine)."
    )
