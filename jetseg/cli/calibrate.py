"""`jetseg calibrate`: a network and images in, a ranges file out."""

from __future__ import annotations

import json
import sys
import time
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


class MethodName(str, Enum):
    """Names of the calibration methods, for the command line."""

    entropy = "entropy"
    percentile = "percentile"
    minmax = "minmax"
    mse = "mse"


METHOD = typer.Option(help="How a range is chosen from what was seen.")
IMAGES = typer.Option(min=1, help="How many images, spread evenly over the split.")
CALIBRATION_SPLIT = typer.Option(help="Split to calibrate on; the one the network was trained on is right.")


def calibrate(
    model: Annotated[Path, typer.Argument(help="Float ONNX file.")],
    data: Annotated[
        str, typer.Option(metavar="SPEC", help="camvid:DIR, cityscapes:DIR, folder:DIR, synthetic or synthetic:N.")
    ],
    out: Annotated[Path | None, typer.Option(help="Ranges file; by default calibration/NAME.ranges.json.")] = None,
    split: Annotated[str, CALIBRATION_SPLIT] = "train",
    images: Annotated[int, IMAGES] = 128,
    method: Annotated[MethodName, METHOD] = MethodName.percentile,
    manifest: Annotated[Path | None, typer.Option(help="Manifest, if it is not beside the file.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of the CPU.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Watches a network's activations on images and writes their ranges to a small text file.

    One pass; memory does not grow with the number of images. Labels are not needed. The file is tied to this
    network and this preprocessing by their hashes, and INT8 engines of every backend are built from it.

    Examples:

        jetseg calibrate student.onnx --data camvid:data/camvid --images 128

        jetseg calibrate student.onnx --data folder:data/mine --split all --method entropy --out my.ranges.json
    """
    from jetseg.calibrate.calibration import CalibrateConfig, run
    from jetseg.manifest import validate_config

    target = out or Path("calibration") / f"{model.stem}.ranges.json"
    started = time.perf_counter()
    config = {
        "model": model,
        "data": data,
        "out": target,
        "split": split,
        "images": images,
        "method": method.value,
        "manifest": manifest,
        "threads": threads,
    }
    ranges = run(validate_config(CalibrateConfig, config))
    summary = {
        "ranges": str(target),
        "method": ranges.method,
        "frames": ranges.frames,
        "tensors": len(ranges.tensors),
        "seconds": round(time.perf_counter() - started, 2),
    }
    if as_json:
        sys.stdout.write(json.dumps(summary, indent=2) + "\n")
    else:
        Console().print(
            f"{target}: {summary['tensors']} tensors, {ranges.method} over {ranges.frames} frames of "
            f"{ranges.data}, {summary['seconds']} s",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
