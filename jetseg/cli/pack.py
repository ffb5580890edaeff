"""`jetseg pack`: one file that carries a network to the vehicle."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jetseg.cli.artifacts import by_name
from jetseg.cli.eval import DATA, SPLIT

if TYPE_CHECKING:
    from jetseg.kit.packing import PackResult


def pack(
    model: Annotated[Path, typer.Argument(help="Float ONNX file.", callback=by_name)],
    data: Annotated[str, DATA],
    out: Annotated[Path, typer.Option(help="Kit to write, as in student.kit.zip.")],
    calibration: Annotated[
        Path | None, typer.Option(help="Its ranges file; without it the kit builds float engines only.")
    ] = None,
    split: Annotated[str, SPLIT] = "val",
    frames: Annotated[int, typer.Option(min=1, help="Reference frames, spread evenly over the split.")] = 6,
    target: Annotated[
        str | None, typer.Option(help="Computer that it is for: xavier-nx, orin-nano-8gb, orin-nx-16gb, ...")
    ] = None,
    min_agreement: Annotated[
        float, typer.Option(min=0, max=100, help="Least percent of pixels with the float network's class.")
    ] = 97.0,
    max_drop: Annotated[
        float, typer.Option(min=0, help="Points of mIoU that the engine may lose on the frames.")
    ] = 1.0,
    max_class_drop: Annotated[float, typer.Option(min=0, help="Points of IoU that each class may lose.")] = 5.0,
    manifest: Annotated[Path | None, typer.Option(help="Manifest, if it is not beside the file.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of ONNX Runtime.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Packs a network, its ranges and some reference frames into one file for the vehicle.

    `jetseg verify` builds the engine there and compares its class maps with those that the float network gives
    here. With a ranges file, TensorRT's INT8 is simulated on the frames first, and a kit that could not pass is
    not written (exit code 1). The kit holds frames of the dataset: mind its license.

    Examples:

        jetseg pack student.onnx --calibration student.ranges.json --data camvid:data/camvid --out student.kit.zip

        jetseg pack student.onnx --data synthetic:20 --frames 4 --target orin-nano-8gb --out student.kit.zip
    """
    from jetseg.config import validate_config
    from jetseg.kit.packing import PackConfig, run
    from jetseg.storage import sha256_file

    settings = {
        "model": model,
        "data": data,
        "out": out,
        "calibration": calibration,
        "split": split,
        "frames": frames,
        "target": target,
        "tolerance": {"min_agreement": min_agreement, "max_drop": max_drop, "max_class_drop": max_class_drop},
        "manifest": manifest,
        "threads": threads,
    }
    result = run(validate_config(PackConfig, settings))
    sha256 = sha256_file(result.kit)
    if as_json:
        content = {"kit": str(result.kit), "sha256": sha256, **result.index.model_dump()}
        sys.stdout.write(json.dumps(content, indent=2) + "\n")
    else:
        _print(result, sha256)


def _print(result: PackResult, sha256: str) -> None:
    from rich.console import Console

    index = result.index
    lines = [
        f"{result.kit}: {result.kit.stat().st_size / 1e6:.2f} MB, {len(index.members)} files, {len(index.frames)} "
        f"reference frames {'with' if index.labelled else 'without'} labels",
        f"SHA-256 {sha256}",
    ]
    if result.simulated is not None:
        lines.append(
            f"INT8 for TensorRT, simulated exactly: {result.simulated.agreement:.2f} % of the pixels keep the float "
            f"network's class (at least {index.tolerance.min_agreement:g})"
        )
    lines.append(f"On the vehicle: jetseg verify {result.kit.name}")
    console = Console()
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
