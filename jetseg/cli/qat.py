"""`jetseg qat`: quantization-aware training of a checkpoint or an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from jetseg.cli import options
from jetseg.cli.output import print_json, print_lines
from jetseg.compress.qat.config import QatConfig
from jetseg.workflows.config import StartRanges


@options.with_settings
def qat(
    network: Annotated[Path, typer.Argument(help="Checkpoint (.safetensors) or float ONNX file.")],
    data: options.NeededData,
    out: Annotated[Path, typer.Option(help="Q/DQ network to write; a float twin and its ranges get its name.")],
    settings: Annotated[dict[str, Any], options.From(QatConfig)],
    start: Annotated[dict[str, Any], options.From(StartRanges)],
    calibration: Annotated[
        Path | None, typer.Option(help="Ranges file of the ONNX file; by default it is calibrated first.")
    ] = None,
    manifest: options.Manifest = None,
    as_json: options.AsJson = False,
) -> None:
    """Trains a network under the rounding of its INT8 engine.

    The network is exported and calibrated if need be. Quantizers stand where the engine will have them; weights
    and ranges are trained, the float network teaches. The untrained network competes: if no epoch is better on
    the validation split, it is kept.

    Written are OUT.onnx (Q/DQ network for TensorRT), OUT.float.onnx (the same weights without quantizers) and
    OUT.ranges.json, from which `jetseg build-engine OUT.float.onnx` makes engines.

    Examples:

        jetseg qat runs/student/best.safetensors --data camvid:data/camvid --epochs 10 --out student.qat.onnx

        jetseg qat foreign.onnx --data folder:frames --no-labels --out foreign.qat.onnx
    """
    from jetseg.network import open_network
    from jetseg.workflows.qat import quantization_aware_train

    parent = open_network(network, manifest)
    result = quantization_aware_train(parent, data=data, out=out, ranges=calibration, **settings, **start)
    summary = {
        "qdq": str(result.qdq.path),
        "float": str(result.float_twin.path),
        "ranges": str(result.ranges.path),
        "best_epoch": result.best_epoch,
        "miou": result.miou,
    }
    if as_json:
        print_json(summary)
        return
    score = "" if result.miou is None else f", mIoU {result.miou:.2f} % under exact fake quantization"
    print_lines(
        f"{result.qdq.path}: best after epoch {result.best_epoch} (0 is before training){score}. "
        f"Engines: jetseg build-engine {result.float_twin.path} --calibration {result.ranges.path}"
    )
