"""`jetseg render`: a ranges file in, the files that TensorRT reads out."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from jetseg.cli.calibrate import PlacementName


class FormName(str, Enum):
    """What to render, for the command line."""

    qdq = "qdq"
    cache = "cache"


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
    manifest: Annotated[Path | None, typer.Option(help="Manifest, if it is not beside the file.")] = None,
) -> None:
    """Renders a calibrated network for TensorRT: a Q/DQ network, or a calibration cache.

    The Q/DQ network has symmetric int8 quantizers, float biases and no quantizer inside a fusion, and is checked
    for that. Build it strongly typed.

    Examples:

        jetseg render student.onnx --calibration student.ranges.json --out student.qdq.onnx

        jetseg render student.onnx --calibration student.ranges.json --form cache --tensorrt 10.3 --out student.cache
    """
    from jetseg.engine.rendering import write_cache, write_qdq

    console = Console()
    if form is FormName.cache:
        network = write_cache(model, calibration, out, tensorrt, manifest)
        message = f"{out}: calibration cache for TensorRT {tensorrt}; build {network} with it."
    else:
        policy = placement.policy if placement else None
        write_qdq(model, calibration, out, placement=policy, manifest_file=manifest)
        message = f"{out}: Q/DQ network for TensorRT."
    console.print(message, markup=False, highlight=False, soft_wrap=True)
