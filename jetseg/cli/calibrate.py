"""`jetseg calibrate`: a network and images in, a ranges file out."""

from __future__ import annotations

import json
import sys
import time
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from jetseg.cli.artifacts import by_name
from jetseg.progress import console

if TYPE_CHECKING:
    from jetseg.quantization.ranges import Policy, Ranges


class MethodName(str, Enum):
    """Names of the calibration methods, for the command line."""

    entropy = "entropy"
    percentile = "percentile"
    minmax = "minmax"
    mse = "mse"


class PlacementName(str, Enum):
    """Names of the placements, for the command line."""

    conv_inputs = "conv-inputs"
    full = "full"

    @property
    def policy(self) -> Policy:
        """The placement's name in the library."""
        return "full" if self is PlacementName.full else "conv-inputs"


class PresetName(str, Enum):
    """Names of the calibration presets, for the command line."""

    fast = "fast"
    accurate = "accurate"
    best = "best"


class CorrectionName(str, Enum):
    """Names of the corrections, for the command line."""

    input_folding = "input-folding"
    shift = "shift"
    equalize = "equalize"
    reconstruct = "reconstruct"
    pixels = "pixels"
    refit = "refit"


PLACEMENT = typer.Option(
    help="Where TensorRT's quantizers stand: only before convolutions and matrix products, or also before additions, "
    "concatenations and poolings."
)
PRESET = typer.Option(
    help="fast: read the images once, change nothing. accurate: correct the network, keep what helps on held-out "
    "images. best: try every method with every correction."
)
METHOD = typer.Option(help="How a range is chosen from what was seen.")
IMAGES = typer.Option(min=1, help="How many images, spread evenly over the split.")
CALIBRATION_SPLIT = typer.Option(help="Split to calibrate on; the one the network was trained on is right.")


def calibrate(
    model: Annotated[Path, typer.Argument(help="Float ONNX file.", callback=by_name)],
    data: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC", help="camvid:DIR, cityscapes:DIR, folder:DIR, video:FILE, synthetic or synthetic:N."
        ),
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Calibration cache of TensorRT to read in place of images.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Ranges file; by default calibration/NAME.ranges.json.")] = None,
    split: Annotated[str, CALIBRATION_SPLIT] = "train",
    images: Annotated[int, IMAGES] = 128,
    method: Annotated[MethodName, METHOD] = MethodName.mse,
    placement: Annotated[PlacementName, PLACEMENT] = PlacementName.conv_inputs,
    preset: Annotated[PresetName, PRESET] = PresetName.accurate,
    correct: Annotated[
        list[CorrectionName] | None,
        typer.Option(
            help="Correction to try in place of the preset's; may be repeated. pixels and refit are former names of "
            "input-folding and reconstruct."
        ),
    ] = None,
    manifest: Annotated[Path | None, typer.Option(help="Manifest, if it is not beside the file.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of the CPU.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
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
    from jetseg.errors import ConfigError
    from jetseg.manifest import validate_config
    from jetseg.quantization.calibration import CalibrateConfig, run
    from jetseg.quantization.ranges import save_ranges
    from jetseg.quantization.tensorrt.cache_import import ranges_from_cache

    target = out or Path("calibration") / f"{model.stem}.ranges.json"
    started = time.perf_counter()
    if (data is None) == (cache is None):
        raise ConfigError("Calibration needs images or a cache, one of them.", "Give --data SPEC or --cache FILE.")
    if cache is not None:
        found = ranges_from_cache(model, cache, manifest)
        save_ranges(target, found)
        _tell(_summary(target, found, time.perf_counter() - started), found, as_json=as_json)
        return
    config = {
        "model": model,
        "data": data,
        "out": target,
        "split": split,
        "images": images,
        "method": method.value,
        "placement": placement.policy,
        "preset": preset.value,
        "corrections": None if correct is None else tuple(name.value for name in correct),
        "manifest": manifest,
        "threads": threads,
    }
    ranges = run(validate_config(CalibrateConfig, config))
    _tell(_summary(target, ranges, time.perf_counter() - started), ranges, as_json=as_json)


def _tell(summary: dict[str, Any], ranges: Ranges, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(summary, indent=2) + "\n")
    else:
        _print(summary, ranges)


def _summary(target: Path, ranges: Ranges, seconds: float) -> dict[str, Any]:
    return {
        "ranges": str(target),
        "networks": {target: network.file for target, network in ranges.networks.items()},
        "method": ranges.method,
        "placement": ranges.placement,
        "frames": ranges.frames,
        "tensors": len(ranges.tensors),
        "trials": [trial.model_dump() for trial in ranges.trials],
        "coverage": ranges.coverage.model_dump() if ranges.coverage else None,
        "seconds": round(seconds, 2),
    }


def _print(summary: dict[str, Any], ranges: Ranges) -> None:
    from jetseg.quantization.observe.coverage import warnings

    stdout = Console()
    if ranges.trials:
        table = Table(title="Class maps like the float network's, held-out images", title_justify="left")
        table.add_column("arithmetic of")
        table.add_column("corrections")
        table.add_column("reconstructed on frames", justify="right")
        table.add_column("agreement %", justify="right")
        for trial in ranges.trials:
            corrections, frames = ", ".join(trial.corrections) or "none", str(trial.reconstruction_frames or "")
            table.add_row(trial.target, corrections, frames, f"{trial.agreement:.3f}")
        stdout.print(table)
    stdout.print(
        f"{summary['ranges']}: {summary['tensors']} tensors, {ranges.method} over {ranges.frames} frames of "
        f"{ranges.data}, placement {ranges.placement}, {summary['seconds']} s",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    for target, network in ranges.networks.items():
        stdout.print(f"Corrected network for {target}: {network.file}, beside it.", markup=False, highlight=False)
    for message in warnings(ranges.coverage, ranges.frames) if ranges.coverage else []:
        console.print(f"Warning: {message}", style="yellow", markup=False, highlight=False, soft_wrap=True)
