"""`jetseg qat`: quantization-aware training of a checkpoint or an ONNX file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from jetseg.cli.calibrate import CALIBRATION_SPLIT, IMAGES, PLACEMENT, PlacementName

if TYPE_CHECKING:
    from jetseg.manifest import Manifest


def qat(
    network: Annotated[Path, typer.Argument(help="Checkpoint (.safetensors) or float ONNX file.")],
    data: Annotated[
        str, typer.Option(metavar="SPEC", help="camvid:DIR, cityscapes:DIR, folder:DIR, synthetic or synthetic:N.")
    ],
    out: Annotated[Path, typer.Option(help="Q/DQ network to write; a float twin and its ranges get its name.")],
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training frames.")] = 10,
    lr: Annotated[float, typer.Option(help="Highest learning rate.")] = 1e-4,
    batch_size: Annotated[int, typer.Option(min=1, help="Crops per step.")] = 4,
    frames: Annotated[int | None, typer.Option(min=1, help="Train on this many frames only, spread evenly.")] = None,
    labels: Annotated[bool, typer.Option(help="Learn from labels too, not from the float network alone.")] = True,
    calibration: Annotated[
        Path | None, typer.Option(help="Ranges file of the ONNX file; by default it is calibrated first.")
    ] = None,
    split: Annotated[str, CALIBRATION_SPLIT] = "train",
    eval_split: Annotated[str, typer.Option(help="Split to choose the best epoch by.")] = "val",
    images: Annotated[int, IMAGES] = 64,
    placement: Annotated[PlacementName, PLACEMENT] = PlacementName.conv_inputs,
    manifest: Annotated[Path | None, typer.Option(help="Manifest, if it is not beside the file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
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
    from jetseg.compress.qat.artifacts import float_twin_path
    from jetseg.compress.qat.config import QuantizeConfig
    from jetseg.compress.qat.training import run
    from jetseg.config import validate_config
    from jetseg.network import load_manifest
    from jetseg.quantization.render import write_qdq, write_trained_ranges

    out.parent.mkdir(parents=True, exist_ok=True)
    model = _exported(network, out) if network.suffix == ".safetensors" else network
    ranges_file = calibration or _calibrated(model, data, split, images, placement, out, manifest)
    start = out.with_suffix(".start.onnx")
    write_qdq(model, ranges_file, start, placement=placement.policy, manifest_file=manifest)
    settings = {
        "qdq": start,
        "out": out,
        "data": data,
        "split": split,
        "val_split": eval_split,
        "frames": frames,
        "labels": labels,
        "parent": model,
        "teacher_manifest": manifest,
        "epochs": epochs,
        "lr": lr,
        "batch_size": batch_size,
    }
    run(validate_config(QuantizeConfig, settings))
    ranges = write_trained_ranges(out, float_twin_path(out), model, ranges_file, manifest)
    _print(out, float_twin_path(out), ranges, load_manifest(out), as_json)


def _exported(checkpoint: Path, out: Path) -> Path:
    from jetseg.export.onnx_export import ExportConfig, run

    model = out.with_suffix(".parent.onnx")
    run(ExportConfig(checkpoint=checkpoint, out=model))
    return model


def _calibrated(
    model: Path, data: str, split: str, images: int, placement: PlacementName, out: Path, manifest: Path | None
) -> Path:
    from jetseg.quantization.calibration import CalibrateConfig, run

    ranges_file = out.with_suffix(".start.ranges.json")
    run(
        CalibrateConfig(
            model=model,
            data=data,
            split=split,
            images=images,
            placement=placement.policy,
            targets=("tensorrt",),
            out=ranges_file,
            manifest=manifest,
        )
    )
    return ranges_file


def _print(out: Path, twin: Path, ranges: Path, written: Manifest, as_json: bool) -> None:
    settings = written.stages[-1].settings
    accuracy = written.accuracy[0].miou if written.accuracy else None
    summary: dict[str, Any] = {
        "qdq": str(out),
        "float": str(twin),
        "ranges": str(ranges),
        "best_epoch": settings.get("best_epoch"),
        "miou": accuracy,
    }
    if as_json:
        sys.stdout.write(json.dumps(summary, indent=2) + "\n")
        return
    score = "" if accuracy is None else f", mIoU {accuracy:.2f} % under exact fake quantization"
    Console().print(
        f"{out}: best after epoch {summary['best_epoch']} (0 is before training){score}. "
        f"Engines: jetseg build-engine {twin} --calibration {ranges}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
