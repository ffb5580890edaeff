"""`jetseg render`: a ranges file in, the files that TensorRT reads out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from jetseg.cli import options
from jetseg.cli.output import print_lines
from jetseg.quantization.config import RenderConfig


@options.with_settings
def render(
    model: Annotated[Path, typer.Argument(help="Float ONNX file that was calibrated.")],
    ranges: Annotated[Path, typer.Option("--calibration", help="Its ranges file.")],
    out: Annotated[Path, typer.Option(help="File to write.")],
    settings: Annotated[dict[str, Any], options.From(RenderConfig)],
    manifest: options.Manifest = None,
) -> None:
    """Renders a calibrated network for TensorRT: a Q/DQ network, or a calibration cache.

    The Q/DQ network has symmetric int8 quantizers, float biases and no quantizer inside a fusion, and is checked
    for that. Build it strongly typed. With fp8 it has 8-bit floats (E4M3) in place of integers, for Thor and other GPUs
    from compute capability 8.9 on; nothing of it ran on one. Other schemes (asymmetric, 16 bit) are not for TensorRT;
    `jetseg eval` and `jetseg parity` tell what they would lose.

    Examples:

        jetseg render student.onnx --calibration student.ranges.json --out student.qdq.onnx

        jetseg render student.onnx --calibration student.ranges.json --scheme uint16 --out student.uint16.onnx

        jetseg render student.onnx --calibration student.ranges.json --scheme fp8 --target thor --out student.fp8.onnx

        jetseg render student.onnx --calibration student.ranges.json --form cache --tensorrt 10.3 --out student.cache
    """
    from jetseg.network import open_network
    from jetseg.workflows.rendering import render as run

    result = run(open_network(model, manifest), ranges=ranges, out=out, **settings)
    if result.config.form == "cache":
        message = (
            f"{out}: calibration cache for TensorRT {result.config.tensorrt}; build {result.network.path} with it."
        )
    else:
        scheme = result.config.scheme
        message = f"{out}: Q/DQ network {'for TensorRT' if scheme == 'int8' else f'of scheme {scheme}'}."
    print_lines(message)
