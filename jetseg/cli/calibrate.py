"""`jetseg calibrate`: a network and images in, a ranges file out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from jetseg.cli import options
from jetseg.cli.bars import console
from jetseg.cli.output import print_json, print_lines, print_table, right
from jetseg.quantization.config import CalibrateConfig

if TYPE_CHECKING:
    from jetseg.quantization.ranges import Ranges


@options.with_settings
def calibrate(
    model: Annotated[Path, typer.Argument(help="Float ONNX file.")],
    settings: Annotated[dict[str, Any], options.From(CalibrateConfig)],
    limits: options.Limits,
    data: options.Data = None,
    cache: Annotated[
        Path | None, typer.Option(help="Calibration cache of TensorRT to read in place of images.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Ranges file; by default calibration/NAME.ranges.json.")] = None,
    manifest: options.Manifest = None,
    as_json: options.AsJson = False,
) -> None:
    """Watches a network's activations on images and writes their ranges to a small text file.

    Memory does not grow with the number of images, and labels are not needed. The file is tied to this network
    and this preprocessing by their hashes, and INT8 engines of every backend are built from it.

    The first layer reads pixels, channels are equalized and weights reconstructed where that makes class maps on
    held-out images more like the float network's; the corrected network is then written beside the ranges file, and
    used from there.

    Examples:

        jetseg calibrate student.onnx --data camvid:data/camvid --images 128

        jetseg calibrate student.onnx --data folder:data/mine --split all --method entropy --out my.ranges.json

        jetseg calibrate student.onnx --data camvid:data/camvid --placement full --preset best

        jetseg calibrate student.onnx --cache trtexec.cache      # found elsewhere, on the same network
    """
    from jetseg.network import open_network
    from jetseg.workflows.calibration import calibrate

    options.set_limits(limits)
    started = time.perf_counter()
    ranges = calibrate(open_network(model, manifest), data=data, cache=cache, out=out, **settings)
    summary = _summary(ranges, time.perf_counter() - started)
    if as_json:
        print_json(summary)
    else:
        _print(summary, ranges)


def _summary(ranges: Ranges, seconds: float) -> dict[str, Any]:
    found = ranges.record
    return {
        "ranges": str(ranges.path),
        "networks": {target: network.file for target, network in found.networks.items()},
        "method": found.method,
        "placement": found.placement,
        "frames": found.frames,
        "tensors": len(found.tensors),
        "trials": found.trials,
        "coverage": found.coverage,
        "seconds": round(seconds, 2),
    }


def _print(summary: dict[str, Any], ranges: Ranges) -> None:
    from jetseg.quantization.observe.coverage import warnings

    found = ranges.record
    if found.trials:
        numbers = right("reconstructed on"), right("judged by frames"), right("agreement %")
        title = "Class maps like the float network's, held-out images"
        table = Table("arithmetic of", "corrections", *numbers, title=title, title_justify="left")
        for trial in found.trials:
            corrections, frames = ", ".join(trial.corrections) or "none", str(trial.reconstruction_frames or "")
            table.add_row(trial.target, corrections, frames, f"{trial.held_out_frames}", f"{trial.agreement:.3f}")
        print_table(table)
    print_lines(
        f"{summary['ranges']}: {summary['tensors']} tensors, {found.method} over {found.frames} frames of "
        f"{found.data}, placement {found.placement}, {summary['seconds']} s",
        *(f"Corrected network for {target}: {network.file}, beside it." for target, network in found.networks.items()),
    )
    messages = warnings(found.coverage, found.frames) if found.coverage else []
    print_lines(*(f"Warning: {message}" for message in messages), style="yellow", console=console)
