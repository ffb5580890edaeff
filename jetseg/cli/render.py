"""`jetseg render`: a ranges file in, the files that TensorRT reads out."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from jetseg.cli.calibrate import PlacementName

if TYPE_CHECKING:
    from jetseg.quantization.qdq.schemes import Scheme


class FormName(str, Enum):
    """What to render, for the command line."""

    qdq = "qdq"
    cache = "cache"


class SchemeName(str, Enum):
    """What quantizers compute, for the command line."""

    int8 = "int8"
    uint8 = "uint8"
    int16 = "int16"
    uint16 = "uint16"

    @property
    def scheme(self) -> Scheme:
        """The scheme of this name."""
        from jetseg.quantization.qdq.schemes import Scheme

        return Scheme(16 if self.value.endswith("16") else 8, symmetric=not self.value.startswith("u"))


def render(
    model: Annotated[Path, typer.Argument(help="Float ONNX file that was calibrated.")],
    calibration: Annotated[Path, typer.Option(help="Its ranges file.")],
    out: Annotated[Path, typer.Option(help="File to write.")],
    form: Annotated[
        FormName,
        typer.Option(help="qdq: network with explicit quantizers, for every TensorRT. cache: for 10 and older."),
    ] = FormName.qdq,
    tensorrt: Annotated[str, typer.Option(metavar="VERSION", help="TensorRT of the device, for a cache.")] = "10.3",
    placement: Annotated[
        PlacementName | None, typer.Option(help="Placement of the quantizers; by default that of the ranges file.")
    ] = None,
    scheme: Annotated[
        SchemeName,
        typer.Option(help="Type of the quantized activations: TensorRT takes int8; the others are for other chips."),
    ] = SchemeName.int8,
    manifest: Annotated[Path | None, typer.Option(help="Manifest, if it is not beside the file.")] = None,
) -> None:
    """Renders a calibrated network for TensorRT: a Q/DQ network, or a calibration cache.

    The Q/DQ network has symmetric int8 quantizers, float biases and no quantizer inside a fusion, and is checked
    for that. Build it strongly typed. Other schemes (asymmetric, 16 bit) are not for TensorRT; `jetseg eval` and
    `jetseg parity` tell what they would lose.

    Examples:

        jetseg render student.onnx --calibration student.ranges.json --out student.qdq.onnx

        jetseg render student.onnx --calibration student.ranges.json --scheme uint16 --out student.uint16.onnx

        jetseg render student.onnx --calibration student.ranges.json --form cache --tensorrt 10.3 --out student.cache
    """
    from jetseg.quantization.render import write_cache, write_qdq

    console = Console()
    if form is FormName.cache:
        network = write_cache(model, calibration, out, tensorrt, manifest)
        message = f"{out}: calibration cache for TensorRT {tensorrt}; build {network} with it."
    else:
        policy = placement.policy if placement else None
        write_qdq(model, calibration, out, placement=policy, scheme=scheme.scheme, manifest_file=manifest)
        purpose = "for TensorRT" if scheme is SchemeName.int8 else f"with {scheme.value} activations"
        message = f"{out}: Q/DQ network {purpose}."
    console.print(message, markup=False, highlight=False, soft_wrap=True)
