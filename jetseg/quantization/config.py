"""Settings of calibration, and the words that they are made of."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from jetseg.config import Cli, Settings

Method = Literal["entropy", "percentile", "minmax", "mse"]
Policy = Literal["conv-inputs", "full"]
"""Where symmetric quantizers stand; see `jetseg.quantization.qdq.placement`."""
SchemeName = Literal["int8", "uint8", "int16", "uint16", "int16w8", "uint16w8", "fp8"]
"""What quantizers compute, named after the type of the quantized activations, with that of the weights where they have
fewer bits; see `jetseg.quantization.qdq.schemes`."""
Preset = Literal["fast", "accurate", "best"]
_FORMER_CORRECTIONS = {"pixels": "input-folding", "refit": "reconstruct"}
"""Names that earlier files and commands have; they are read for one more release."""


def current_correction(name: object) -> object:
    """Returns the present name of a correction, given that or its former one; anything else stays as it is.

    >>> current_correction("refit"), current_correction("shift")
    ('reconstruct', 'shift')
    """
    return _FORMER_CORRECTIONS.get(name, name) if isinstance(name, str) else name


Correction = Annotated[
    Literal["input-folding", "shift", "equalize", "rescale", "reconstruct"], BeforeValidator(current_correction)
]
ArithmeticName = Literal["tensorrt", "onnxruntime", "litert"]
"""Arithmetics that weights are corrected for; see `jetseg.quantization.arithmetic`."""


class CalibrationImages(Settings):
    """Which images calibration looks at, and how."""

    split: str = Field("train", description="Split to calibrate on; the one the network was trained on is right.")
    images: int = Field(128, gt=0, description="How many images, spread evenly over the split.")
    method: Method = Field("mse", description="How a range is chosen from what was seen.")
    preset: Preset = Field(
        "accurate",
        description="fast: read the images once, change nothing. accurate: correct the network, keep what helps on "
        "held-out images. best: try every method with every correction.",
    )
    threads: int | None = Field(None, gt=0, description="Threads of a CPU backend.")


class RenderConfig(Settings):
    """What a calibrated network is rendered as."""

    form: Literal["qdq", "cache"] = Field(
        "qdq", description="qdq: network with explicit quantizers, for every TensorRT. cache: for 10 and older."
    )
    tensorrt: Annotated[str, Cli(metavar="VERSION")] = Field("10.3", description="TensorRT of the device, for a cache.")
    placement: Policy | None = Field(
        None, description="Placement of the quantizers; by default that of the ranges file."
    )
    scheme: SchemeName = Field(
        "int8",
        description="Type of the quantized activations, and of weights with fewer bits: TensorRT takes int8 and, on "
        "GPUs that have it, fp8; the others are for other chips.",
    )
    target: str | None = Field(
        None, description="Computer that it is for, as in thor: a scheme that its GPU lacks is refused."
    )


class CalibrateConfig(CalibrationImages):
    """Settings of calibration."""

    placement: Policy = Field(
        "conv-inputs",
        description="Where TensorRT's quantizers stand: only before convolutions and matrix products, or also before "
        "additions, concatenations and poolings.",
    )
    corrections: Annotated[tuple[Correction, ...] | None, Cli(flag="--correct", metavar="NAME")] = Field(
        None,
        description="Corrections to try in place of the preset's: input-folding, shift, equalize, rescale, "
        "reconstruct.",
    )
    keep_float: Annotated[tuple[str, ...], Cli(metavar="LAYER")] = Field(
        (), description="Layer, by its output tensor, that the engine will have in float."
    )
    targets: Annotated[tuple[ArithmeticName, ...], Cli(flag="--correct-for", metavar="BACKEND")] = Field(
        ("tensorrt", "onnxruntime"),
        min_length=1,
        description="Backend to correct weights for: tensorrt, onnxruntime, litert; each gets a network of its own, "
        "the ranges are the same.",
    )

    def allowed(self) -> tuple[Correction, ...]:
        """Returns the corrections to try."""
        if self.corrections is not None:
            return self.corrections
        if self.preset == "fast":
            return ()
        return ("input-folding", "shift", "equalize", "rescale", "reconstruct")
